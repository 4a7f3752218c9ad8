/* Stands in for a program that hangs: never ends, and neither does its child. */
#include <windows.h>

int main(int count, char **arguments) {
  if (lstrcmpA(arguments[count - 1], "child")) {
    char file[MAX_PATH], line[MAX_PATH + 10];
    GetModuleFileNameA(NULL, file, MAX_PATH);
    wsprintfA(line, "\"%s\" child", file);
    STARTUPINFOA start = {sizeof start};
    PROCESS_INFORMATION child;
    CreateProcessA(file, line, NULL, NULL, TRUE, 0, NULL, NULL, &start, &child);
  }
  Sleep(INFINITE);
  return 0;
}
