// The guest side of guest/windows: a small program that the guest agent starts as SYSTEM, once for
// each command or file. Built for 64-bit Windows 7 and later, on nothing but Win32.
//
// Called as: HELPER OP ID CAP LIMIT PIECES BOOT [ID to forget]...
//   OP      run | read | write | kill
//   ID      names the record directory; who makes it does the work, a repeated launch of the same
//   ID
//           finds it, waits for the result and prints the same
//   CAP     most bytes of each stream that the answer holds
//   LIMIT   read: most bytes of the file
//   PIECES  0: the request is on standard input; N: in the files in-ID.0000 ... beside the records
//   BOOT    `-`, or the guest's boot as known: another one means that it restarted
//
// The request: fields in UTF-8, each ended by NUL, then bytes to the end.
//   run     CWD PROGRAM LINE BATCH COUNT and so many NAME=VALUE; standard input.
//           LINE is the command line as CreateProcess takes it. BATCH is the arguments as cmd takes
//           them, in case the program turns out to be a batch file; or `!` and why they can't be.
//   read    PATH
//   write   PATH; the file's contents
//   kill    nothing
//
// Prints one line "KIND STATUS BOOT OUT ERR DETAIL" (guest/run_machine.hpp; OUT and ERR are the
// lengths of stdout and stderr), then the head of stdout; the head of stderr on stderr. DETAIL of a
// file's error is Windows' error number.
//
// The records lie in the directory `proxmox-sandbox` beside this program, which only SYSTEM and
// administrators can look into: i o e are the streams, r the result, k says that it shall end;
// o-live and e-live are the streams of a background child.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <windows.h>

enum {
  path_size = 32768,
  error_is_directory = 336,  // ERROR_DIRECTORY_NOT_SUPPORTED, which older headers lack
};

/// What a request holds; fields are taken one after the other, what is left is the body.
struct request {
  char* bytes;
  size_t size;
  size_t at;
};

/// The record of the command at hand: "C:\Windows\proxmox-sandbox\ID".
extern wchar_t record[];

/// The path of a file of the record; good until the next but three calls.
const wchar_t* in_record(const wchar_t* name);
bool exists(const wchar_t* path);

/// The next field as UTF-16, or NULL when there is none or it is no UTF-8.
wchar_t* next_field(struct request* request);
/// Writes all; false on an error.
bool write_all(HANDLE file, const char* bytes, size_t size);

/// Opens a file that others may have open in whatever way.
HANDLE open_to_read(const wchar_t* path);
/// Copies all of it into a file of the record.
bool copy_to_record(HANDLE from, const wchar_t* name);

/// The result, told once: a later one changes nothing.
void set_result(char kind, DWORD status, const wchar_t* detail);
void set_error(char kind, DWORD status, DWORD error);

void run_command(struct request* request, HANDLE job);
void read_file(struct request* request, unsigned long long limit);
void write_file(struct request* request);
