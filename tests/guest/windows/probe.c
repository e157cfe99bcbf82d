// A Windows program for tests: does what its first argument says, on nothing but bytes.
//   args ...     each argument as `[...]` in UTF-8: as C's start-up code reads them, a line feed,
//   as
//                CommandLineToArgvW does
//   cat          standard input to standard output
//   both STATUS  "out" to stdout, "err" to stderr; ends with STATUS
//   env NAME     the variable
//   cwd          the directory
//   fill BYTES   so many bytes, then "end"
//   late MS FILE sleeps, then makes the file
//   hold MS FILE makes the file, and lets nobody else open it until it has slept
//   tree MS FILE says "part" and "oops", starts `late MS FILE`, and waits for it
//   behind WHAT MS FILE starts `WHAT MS FILE` with its own streams, and waits for nothing
//   crash        an access violation
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <windows.h>

static void say(DWORD stream, const char* bytes, size_t size) {
  DWORD written = 0;
  WriteFile(GetStdHandle(stream), bytes, (DWORD)size, &written, NULL);
}

static void print(const wchar_t* text) {
  static char bytes[1 << 17];
  const int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, sizeof bytes, NULL, NULL);
  say(STD_OUTPUT_HANDLE, bytes, (size_t)size - 1);
}

static void print_words(wchar_t** words, int count) {
  for (int i = 2; i < count; ++i) {
    print(L"[");
    print(words[i]);
    print(L"]");
  }
}

static void cat(void) {
  char bytes[4096];
  DWORD size = 0;
  while (ReadFile(GetStdHandle(STD_INPUT_HANDLE), bytes, sizeof bytes, &size, NULL) && size > 0) {
    say(STD_OUTPUT_HANDLE, bytes, size);
  }
}

static void fill(long long count) {
  char bytes[4096];
  memset(bytes, 'x', sizeof bytes);
  for (; count > 0; count -= sizeof bytes) {
    say(STD_OUTPUT_HANDLE, bytes, count < (long long)sizeof bytes ? (size_t)count : sizeof bytes);
  }
  say(STD_OUTPUT_HANDLE, "end", 3);
}

static HANDLE start(const wchar_t* self, const wchar_t* what, const wchar_t* milliseconds,
                    const wchar_t* file) {
  wchar_t line[1024];
  _snwprintf(line, 1024, L"probe %ls %ls %ls", what, milliseconds, file);
  STARTUPINFOW startup = {.cb = sizeof startup};
  PROCESS_INFORMATION child;
  CreateProcessW(self, line, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &child);
  return child.hProcess;
}

int wmain(int count, wchar_t** words) {
  wchar_t self[MAX_PATH];
  wchar_t text[4096] = L"";
  const wchar_t* what = count > 1 ? words[1] : L"";
  GetModuleFileNameW(NULL, self, MAX_PATH);
  if (wcscmp(what, L"args") == 0) {
    print_words(words, count);
    int others = 0;
    wchar_t** read = CommandLineToArgvW(GetCommandLineW(), &others);
    print(L"\n");
    print_words(read, others);
  } else if (wcscmp(what, L"cat") == 0) {
    cat();
  } else if (wcscmp(what, L"both") == 0) {
    say(STD_OUTPUT_HANDLE, "out\n", 4);
    say(STD_ERROR_HANDLE, "err\n", 4);
    return _wtoi(words[2]);
  } else if (wcscmp(what, L"env") == 0) {
    GetEnvironmentVariableW(words[2], text, 4096);
    print(text);
  } else if (wcscmp(what, L"cwd") == 0) {
    GetCurrentDirectoryW(4096, text);
    print(text);
  } else if (wcscmp(what, L"fill") == 0) {
    fill(_wtoi64(words[2]));
  } else if (wcscmp(what, L"late") == 0) {
    Sleep((DWORD)_wtoi(words[2]));
    CloseHandle(CreateFileW(words[3], GENERIC_WRITE, FILE_SHARE_READ, NULL, OPEN_ALWAYS, 0, NULL));
    say(STD_OUTPUT_HANDLE, "late\n", 5);
  } else if (wcscmp(what, L"hold") == 0) {
    CreateFileW(words[3], GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    Sleep((DWORD)_wtoi(words[2]));
  } else if (wcscmp(what, L"tree") == 0) {
    say(STD_OUTPUT_HANDLE, "part\n", 5);
    say(STD_ERROR_HANDLE, "oops\n", 5);
    WaitForSingleObject(start(self, L"late", words[2], words[3]), INFINITE);
  } else if (wcscmp(what, L"behind") == 0) {
    start(self, words[2], words[3], words[4]);
    say(STD_OUTPUT_HANDLE, "now\n", 4);
  } else if (wcscmp(what, L"crash") == 0) {
    RaiseException(EXCEPTION_ACCESS_VIOLATION, 0, 0, NULL);
  }
  return 0;
}
