#include "helper.h"

#include <stdlib.h>
#include <wchar.h>

/// What CreateProcess can start, or cmd for us; in the order of Windows' own PATHEXT.
static const wchar_t* const extensions[] = {L".com", L".exe", L".bat", L".cmd"};

static bool is_file(const wchar_t* path) {
  const DWORD attributes = GetFileAttributesW(path);
  return attributes != INVALID_FILE_ATTRIBUTES && !(attributes & FILE_ATTRIBUTE_DIRECTORY);
}

/// Tries DIRECTORY\NAME as it is (if so wanted), then with each extension.
static bool try_names(const wchar_t* directory, size_t length, const wchar_t* name, bool exact,
                      wchar_t* found) {
  const wchar_t* gap = length > 0 && directory[length - 1] != L'\\' ? L"\\" : L"";
  const int stem =
      _snwprintf(found, path_size - 8, L"%.*ls%ls%ls", (int)length, directory, gap, name);
  if (stem < 0) return false;
  if (exact && is_file(found)) return true;
  for (size_t i = 0; i < sizeof extensions / sizeof *extensions; ++i) {
    wcscpy(found + stem, extensions[i]);
    if (is_file(found)) return true;
  }
  return false;
}

/// The program's file: by its path, or in the directories of PATH and nowhere else.
static bool find_program(const wchar_t* name, wchar_t* found) {
  if (wcspbrk(name, L"\\/:")) {
    wchar_t* full = malloc(path_size * sizeof *full);
    const DWORD size = full ? GetFullPathNameW(name, path_size, full, NULL) : 0;
    return size > 0 && size < path_size && try_names(L"", 0, full, true, found);
  }
  wchar_t* path = malloc(path_size * sizeof *path);
  if (!path || GetEnvironmentVariableW(L"PATH", path, path_size) == 0) return false;
  const bool exact = wcschr(name, L'.') != NULL;
  for (wchar_t *at = path, *end; *at; at = *end ? end + 1 : end) {
    end = at + wcscspn(at, L";");
    size_t length = (size_t)(end - at);
    if (length >= 2 && *at == L'"' && end[-1] == L'"') {
      ++at;
      length -= 2;
    }
    if (length > 0 && try_names(at, length, name, exact, found)) return true;
  }
  return false;
}

static bool is_batch(const wchar_t* program) {
  const wchar_t* extension = wcsrchr(program, L'.');
  return extension && (_wcsicmp(extension, L".bat") == 0 || _wcsicmp(extension, L".cmd") == 0);
}

/// How cmd is called for a batch file: /s takes off the outer quotes and nothing else. False: why
/// is told.
static bool make_batch_line(const wchar_t* arguments, wchar_t* program, wchar_t* line) {
  if (*arguments == L'!') {
    set_result('c', 126, arguments + 1);
    return false;
  }
  if (wcschr(program, L'%')) {
    set_result('c', 126, L"cmd takes no batch file with % in its path");
    return false;
  }
  wchar_t cmd[MAX_PATH];
  GetSystemDirectoryW(cmd, MAX_PATH - 10);
  wcscat(cmd, L"\\cmd.exe");
  const int size = _snwprintf(line, path_size, L"\"%ls\" /d /v:off /s /c \"\"%ls\"%ls%ls\"", cmd,
                              program, *arguments ? L" " : L"", arguments);
  wcscpy(program, cmd);
  // Longer lines are cut by cmd without a word (Microsoft, "Command prompt line string
  // limitation").
  if (size < 0 || size > 8191) {
    set_result('c', 126, L"cmd takes a line of at most 8191 characters");
    return false;
  }
  return true;
}

/// What is said in UTF-8 comes out as UTF-8: programs convert to the console's code page, also when
/// their streams are files. A service has no console; the new one is on no screen.
static void use_utf8_console(void) {
  if (GetConsoleCP() == 0) AllocConsole();
  SetConsoleCP(CP_UTF8);
  SetConsoleOutputCP(CP_UTF8);
}

static HANDLE open_stream(const wchar_t* name, DWORD access, DWORD disposition) {
  SECURITY_ATTRIBUTES inherited = {sizeof inherited, NULL, TRUE};
  return CreateFileW(in_record(name), access,
                     FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, &inherited,
                     disposition, 0, NULL);
}

/// Starts the program, stopped, with these three handles and no other: a background child must not
/// hold the agent's pipes open.
static DWORD start(const wchar_t* program, wchar_t* line, PROCESS_INFORMATION* process) {
  // The streams are files that are only appended to, so their ends wait for no background child.
  const DWORD append = FILE_APPEND_DATA | FILE_READ_ATTRIBUTES | SYNCHRONIZE;
  HANDLE streams[3] = {open_stream(L"i", GENERIC_READ, OPEN_EXISTING),
                       open_stream(L"o", append, CREATE_ALWAYS),
                       open_stream(L"e", append, CREATE_ALWAYS)};
  STARTUPINFOEXW startup = {.StartupInfo.cb = sizeof startup};
  startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
  startup.StartupInfo.hStdInput = streams[0];
  startup.StartupInfo.hStdOutput = streams[1];
  startup.StartupInfo.hStdError = streams[2];
  SIZE_T size = 0;
  InitializeProcThreadAttributeList(NULL, 1, 0, &size);
  startup.lpAttributeList = malloc(size);
  InitializeProcThreadAttributeList(startup.lpAttributeList, 1, 0, &size);
  UpdateProcThreadAttribute(startup.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, streams,
                            sizeof streams, NULL, NULL);
  const BOOL started = CreateProcessW(program, line, NULL, NULL, TRUE,
                                      CREATE_SUSPENDED | EXTENDED_STARTUPINFO_PRESENT, NULL, NULL,
                                      &startup.StartupInfo, process);
  const DWORD error = started ? ERROR_SUCCESS : GetLastError();
  for (int i = 0; i < 3; ++i) CloseHandle(streams[i]);
  return error;
}

static bool save_input(const struct request* request) {
  const HANDLE file = CreateFileW(in_record(L"i"), GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
  const bool saved = write_all(file, request->bytes + request->at, request->size - request->at);
  CloseHandle(file);
  return saved;
}

/// Sets what the fields ask for; false: why not is told.
static bool set_environment(struct request* request, const wchar_t* count) {
  for (unsigned long left = wcstoul(count, NULL, 10); left > 0; --left) {
    wchar_t* text = next_field(request);
    // Names of Windows' own may begin with `=`; ours don't.
    wchar_t* value = text ? wcschr(text, L'=') : NULL;
    if (!value) {
      set_result('c', 126, L"a variable is no UTF-8");
      return false;
    }
    *value = L'\0';
    SetEnvironmentVariableW(text, value + 1);
  }
  return true;
}

/// The agent opens a file only if nobody can write into it (qemu, qga/commands-win32.c). A
/// background child goes on writing into what it has, under another name.
static void settle(const wchar_t* name, const wchar_t* live_name) {
  const HANDLE alone =
      CreateFileW(in_record(name), GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
  if (alone == INVALID_HANDLE_VALUE && MoveFileExW(in_record(name), in_record(live_name), 0)) {
    const HANDLE live = open_to_read(in_record(live_name));
    copy_to_record(live, name);
    CloseHandle(live);
  }
  CloseHandle(alone);
}

void run_command(struct request* request, HANDLE job) {
  const wchar_t* directory = next_field(request);
  const wchar_t* name = next_field(request);
  wchar_t* line = next_field(request);
  const wchar_t* batch = next_field(request);
  const wchar_t* count = next_field(request);
  if (!directory || !name || !line || !batch || !count) {
    set_result('c', 126, L"an argument is no UTF-8");
    return;
  }
  if (!set_environment(request, count)) return;
  SetCurrentDirectoryW(L"C:\\");
  if (*directory && !SetCurrentDirectoryW(directory)) {
    set_error('d', 126, GetLastError());
    return;
  }
  wchar_t* program = malloc(path_size * sizeof *program);
  if (!find_program(name, program)) {
    // A directory by its path is there, and can't be executed.
    if (wcspbrk(name, L"\\/:") && exists(name)) {
      set_result('p', 126, L"");
    } else {
      set_result('n', 127, L"");
    }
    return;
  }
  if (is_batch(program)) {
    line = malloc(path_size * sizeof *line);
    if (!make_batch_line(batch, program, line)) return;
  }
  if (!save_input(request)) {
    set_error('c', 126, GetLastError());
    return;
  }
  use_utf8_console();
  PROCESS_INFORMATION process;
  const DWORD error = start(program, line, &process);
  if (error != ERROR_SUCCESS) {
    set_error('p', 126, error);
    return;
  }
  if (!AssignProcessToJobObject(job, process.hProcess)) {
    TerminateProcess(process.hProcess, 137);
    set_result('c', 126, L"Windows lets no job watch over the process");
    return;
  }
  if (exists(in_record(L"k"))) {
    TerminateJobObject(job, 137);
  } else {
    ResumeThread(process.hThread);
  }
  WaitForSingleObject(process.hProcess, INFINITE);
  DWORD status = 0;
  GetExitCodeProcess(process.hProcess, &status);
  settle(L"o", L"o-live");
  settle(L"e", L"e-live");
  set_result('x', status, L"");
}
