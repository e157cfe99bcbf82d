#include "helper.h"

#include <stdlib.h>
#include <wchar.h>

/// The whole path, in the form without a limit of 260 characters where it needs that. NULL: an
/// error is told.
static wchar_t* take_path(struct request* request) {
  static const wchar_t unlimited[] = L"\\\\?\\";
  const wchar_t* name = next_field(request);
  wchar_t* full = malloc((path_size + 8) * sizeof *full);
  SetCurrentDirectoryW(L"C:\\");
  const DWORD size = name && full ? GetFullPathNameW(name, path_size, full + 4, NULL) : 0;
  if (size == 0 || size >= path_size) {
    set_error('e', 1, ERROR_INVALID_NAME);
    return NULL;
  }
  // Names inside a directory have 12 characters at least, so 248 is a directory's own limit.
  if (size < 248 || full[5] != L':') return full + 4;
  wmemcpy(full, unlimited, 4);
  return full;
}

static bool is_directory(const wchar_t* path) {
  const DWORD attributes = GetFileAttributesW(path);
  return attributes != INVALID_FILE_ATTRIBUTES && (attributes & FILE_ATTRIBUTE_DIRECTORY);
}

bool copy_to_record(HANDLE from, const wchar_t* name) {
  static char bytes[1 << 16];
  const HANDLE to = CreateFileW(in_record(name), GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
  DWORD size = 0;
  bool good = true;
  do {
    good = ReadFile(from, bytes, sizeof bytes, &size, NULL) && write_all(to, bytes, size);
  } while (good && size > 0);
  const DWORD error = GetLastError();
  CloseHandle(to);
  SetLastError(error);
  return good;
}

/// The agent reads the copy: Proxmox VE passes on no name beyond Latin-1, and an open file would be
/// refused to the agent (see settle() in command.c).
void read_file(struct request* request, unsigned long long limit) {
  const wchar_t* path = take_path(request);
  if (!path) return;
  if (is_directory(path)) {
    set_error('e', 1, error_is_directory);
    return;
  }
  const HANDLE file = open_to_read(path);
  LARGE_INTEGER size = {.QuadPart = 0};
  if (file == INVALID_HANDLE_VALUE) {
    set_error('e', 1, GetLastError());
  } else if (GetFileSizeEx(file, &size) && (unsigned long long)size.QuadPart > limit) {
    wchar_t text[32];
    _snwprintf(text, 32, L"%I64d", size.QuadPart);
    set_result('s', 1, text);
  } else if (copy_to_record(file, L"o")) {
    set_result('x', 0, L"");
  } else {
    set_error('e', 1, GetLastError());
  }
}

/// What can't be made shows when the file is opened.
static void make_parents(wchar_t* path) {
  for (wchar_t* at = path + 1; *at; ++at) {
    if (*at != L'\\') continue;
    *at = L'\0';
    CreateDirectoryW(path, NULL);
    *at = L'\\';
  }
}

void write_file(struct request* request) {
  wchar_t* path = take_path(request);
  if (!path) return;
  make_parents(path);
  if (is_directory(path)) {
    set_error('e', 1, error_is_directory);
    return;
  }
  // Not CREATE_ALWAYS: that changes attributes, and fails on a hidden file.
  const HANDLE file = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ, NULL, OPEN_ALWAYS,
                                  FILE_ATTRIBUTE_NORMAL, NULL);
  if (file != INVALID_HANDLE_VALUE &&
      write_all(file, request->bytes + request->at, request->size - request->at) &&
      SetEndOfFile(file)) {
    set_result('x', 0, L"");
  } else {
    set_error('e', 1, GetLastError());
  }
}
