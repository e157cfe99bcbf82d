#include "helper.h"

#include <sddl.h>
#include <stdlib.h>
#include <wchar.h>

static wchar_t base[MAX_PATH];
wchar_t record[MAX_PATH];

const wchar_t* in_record(const wchar_t* name) {
  static wchar_t paths[4][MAX_PATH];
  static unsigned turn;
  wchar_t* path = paths[turn++ % 4];
  _snwprintf(path, MAX_PATH, L"%ls\\%ls", record, name);
  return path;
}

bool exists(const wchar_t* path) {
  return GetFileAttributesW(path) != INVALID_FILE_ATTRIBUTES;
}

bool write_all(HANDLE file, const char* bytes, size_t size) {
  while (size > 0) {
    const DWORD most = size > (1 << 20) ? 1 << 20 : (DWORD)size;
    DWORD written = 0;
    if (!WriteFile(file, bytes, most, &written, NULL)) return false;
    bytes += written;
    size -= written;
  }
  return true;
}

static void write_text(HANDLE file, const wchar_t* text) {
  char bytes[4096];
  const int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, sizeof bytes, NULL, NULL);
  if (size > 0) write_all(file, bytes, (size_t)size - 1);
}

wchar_t* next_field(struct request* request) {
  const char* begin = request->bytes + request->at;
  size_t size = 0;
  while (request->at + size < request->size && begin[size] != '\0') ++size;
  if (request->at + size == request->size) return NULL;
  request->at += size + 1;
  const int wide =
      MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, begin, (int)size + 1, NULL, 0);
  wchar_t* field = wide > 0 ? malloc((size_t)wide * sizeof *field) : NULL;
  if (field) MultiByteToWideChar(CP_UTF8, 0, begin, (int)size + 1, field, wide);
  return field;
}

// --- records
// ---------------------------------------------------------------------------------------

/// Only SYSTEM and administrators may write into Windows' own directory, so nobody else can have
/// made the records' directory beforehand.
static void find_records(const wchar_t* id) {
  GetModuleFileNameW(NULL, base, MAX_PATH - 80);
  wcscpy(wcsrchr(base, L'\\') + 1, L"proxmox-sandbox");
  SECURITY_ATTRIBUTES access = {sizeof access, NULL, FALSE};
  ConvertStringSecurityDescriptorToSecurityDescriptorW(
      L"D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)", SDDL_REVISION_1, &access.lpSecurityDescriptor, NULL);
  CreateDirectoryW(base, &access);
  _snwprintf(record, MAX_PATH, L"%ls\\%ls", base, id);
}

/// Deletes the files that match; `directory` is the pattern's.
static void delete_files(const wchar_t* directory, const wchar_t* pattern) {
  wchar_t path[MAX_PATH];
  _snwprintf(path, MAX_PATH, L"%ls\\%ls", directory, pattern);
  WIN32_FIND_DATAW found;
  const HANDLE search = FindFirstFileW(path, &found);
  if (search == INVALID_HANDLE_VALUE) return;
  do {
    _snwprintf(path, MAX_PATH, L"%ls\\%ls", directory, found.cFileName);
    DeleteFileW(path);
  } while (FindNextFileW(search, &found));
  FindClose(search);
}

static void forget(const wchar_t* id) {
  wchar_t text[MAX_PATH];
  _snwprintf(text, MAX_PATH, L"in-%ls.*", id);
  delete_files(base, text);
  _snwprintf(text, MAX_PATH, L"%ls\\%ls", base, id);
  delete_files(text, L"*");
  RemoveDirectoryW(text);
}

void set_result(char kind, DWORD status, const wchar_t* detail) {
  wchar_t text[1024];
  wchar_t name[32];
  _snwprintf(text, 1024, L"%lc %ld %ls", (wint_t)kind, (long)status, detail);
  text[1023] = L'\0';
  _snwprintf(name, 32, L"r-%lu", GetCurrentProcessId());
  const wchar_t* path = in_record(name);
  const HANDLE file = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
  write_text(file, text);
  CloseHandle(file);
  if (!MoveFileExW(path, in_record(L"r"), 0)) DeleteFileW(path);
}

void set_error(char kind, DWORD status, DWORD error) {
  wchar_t text[16];
  _snwprintf(text, 16, L"%lu", error);
  set_result(kind, status, text);
}

/// What a restart forgets: a key in the registry's memory. Its value is the ID of who made it.
static void get_boot(const wchar_t* id, wchar_t* boot) {
  HKEY key;
  DWORD disposition = 0;
  wcscpy(boot, L"-");
  if (RegCreateKeyExW(HKEY_LOCAL_MACHINE, L"SOFTWARE\\proxmox-sandbox", 0, NULL,
                      REG_OPTION_VOLATILE, KEY_ALL_ACCESS, NULL, &key,
                      &disposition) != ERROR_SUCCESS) {
    return;
  }
  if (disposition == REG_CREATED_NEW_KEY) {
    RegSetValueExW(key, L"boot", 0, REG_SZ, (const BYTE*)id, (DWORD)(wcslen(id) + 1) * 2);
  }
  // Another launch may have made the key and not yet its value.
  for (int look = 0; look < 100; ++look) {
    DWORD size = 63 * sizeof *boot;
    if (RegQueryValueExW(key, L"boot", NULL, NULL, (BYTE*)boot, &size) == ERROR_SUCCESS) break;
    wcscpy(boot, L"-");
    Sleep(10);
  }
  RegCloseKey(key);
}

// --- the answer
// ------------------------------------------------------------------------------------

HANDLE open_to_read(const wchar_t* path) {
  return CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                     NULL, OPEN_EXISTING, 0, NULL);
}

static unsigned long long size_of(const wchar_t* path) {
  WIN32_FILE_ATTRIBUTE_DATA data;
  if (!GetFileAttributesExW(path, GetFileExInfoStandard, &data)) return 0;
  return ((unsigned long long)data.nFileSizeHigh << 32) | data.nFileSizeLow;
}

static void print_head(const wchar_t* name, DWORD cap, DWORD to) {
  const HANDLE file = open_to_read(in_record(name));
  if (file == INVALID_HANDLE_VALUE) return;
  char* bytes = malloc(cap);
  DWORD size = 0;
  if (bytes && ReadFile(file, bytes, cap, &size, NULL)) write_all(GetStdHandle(to), bytes, size);
  CloseHandle(file);
}

/// Prints the result, which is there. Returns the status of this program.
static int answer(const wchar_t* lead, const wchar_t* boot, DWORD cap) {
  char bytes[2048];
  DWORD size = 0;
  const HANDLE file = open_to_read(in_record(L"r"));
  ReadFile(file, bytes, sizeof bytes - 1, &size, NULL);
  CloseHandle(file);
  bytes[size] = '\0';
  wchar_t result[2048];
  MultiByteToWideChar(CP_UTF8, 0, bytes, -1, result, 2048);
  wchar_t* detail = wcschr(result + 2, L' ');
  *detail++ = L'\0';
  wchar_t line[4096];
  _snwprintf(line, 4096, L"%ls%ls %ls %I64u %I64u %ls\n", lead, result, boot,
             size_of(in_record(L"o")), size_of(in_record(L"e")), detail);
  write_text(GetStdHandle(STD_OUTPUT_HANDLE), line);
  print_head(L"o", cap, STD_OUTPUT_HANDLE);
  print_head(L"e", cap, STD_ERROR_HANDLE);
  return 0;
}

static bool wait_for_result(DWORD milliseconds) {
  for (DWORD waited = 0; !exists(in_record(L"r")); waited += 50) {
    if (waited >= milliseconds) return false;
    Sleep(50);
  }
  return true;
}

// --- requests
// --------------------------------------------------------------------------------------

static void append_file(struct request* request, HANDLE file) {
  DWORD size = 0;
  do {
    char* bytes = realloc(request->bytes, request->size + 65536);
    if (!bytes) ExitProcess(3);
    request->bytes = bytes;
    // The end of a pipe is an error.
    if (!ReadFile(file, bytes + request->size, 65536, &size, NULL)) size = 0;
    request->size += size;
  } while (size > 0);
}

/// False when a piece is missing.
static bool load_request(struct request* request, const wchar_t* id, unsigned long pieces) {
  wchar_t path[MAX_PATH];
  if (pieces == 0) append_file(request, GetStdHandle(STD_INPUT_HANDLE));
  for (unsigned long i = 0; i < pieces; ++i) {
    _snwprintf(path, MAX_PATH, L"%ls\\in-%ls.%04lu", base, id, i);
    const HANDLE file = open_to_read(path);
    if (file == INVALID_HANDLE_VALUE) return false;
    append_file(request, file);
    CloseHandle(file);
    DeleteFileW(path);
  }
  return true;
}

/// Ends the command with all its children. A launch that is still on its way will not run.
static int kill_command(const wchar_t* job_name, const wchar_t* boot, DWORD cap) {
  if (CreateDirectoryW(record, NULL)) set_result('g', 0, L"");
  if (exists(in_record(L"r"))) return answer(L"", boot, cap);
  // run_command() assigns the process to its job and looks for the mark then.
  CloseHandle(CreateFileW(in_record(L"k"), GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL));
  const HANDLE job = OpenJobObjectW(JOB_OBJECT_TERMINATE, FALSE, job_name);
  if (job) TerminateJobObject(job, 137);
  if (!wait_for_result(5000)) set_result('x', 137, L"");
  return answer(L"K", boot, cap);
}

int wmain(int count, wchar_t** words) {
  if (count < 7) return 2;
  const wchar_t* op = words[1];
  const wchar_t* id = words[2];
  const DWORD cap = wcstoul(words[3], NULL, 10);
  const wchar_t* known_boot = words[6];
  find_records(id);
  wchar_t boot[64];
  get_boot(id, boot);
  // The session's own namespace is the global one for a service.
  wchar_t job_name[128];
  _snwprintf(job_name, 128, L"Global\\proxmox-sandbox-%ls", id);
  if (wcscmp(op, L"kill") == 0) return kill_command(job_name, boot, cap);

  for (int i = 7; i < count; ++i) forget(words[i]);
  if (!CreateDirectoryW(record, NULL)) {
    if (!wait_for_result(20000)) {
      write_text(GetStdHandle(STD_OUTPUT_HANDLE), L"w 0 - 0 0 \n");
      return 0;
    }
    return answer(L"", boot, cap);
  }
  const HANDLE job = CreateJobObjectW(NULL, job_name);
  struct request request = {NULL, 0, 0};
  if (wcscmp(known_boot, L"-") != 0 && wcscmp(known_boot, boot) != 0) {
    set_result('l', 0, L"");
  } else if (!load_request(&request, id, wcstoul(words[5], NULL, 10))) {
    set_result('b', 0, L"");
  } else if (wcscmp(op, L"run") == 0) {
    run_command(&request, job);
  } else if (wcscmp(op, L"read") == 0) {
    read_file(&request, _wcstoui64(words[4], NULL, 10));
  } else {
    write_file(&request);
  }
  return answer(L"", boot, cap);
}
