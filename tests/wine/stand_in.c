/* Stands in for route.exe, which Wine does not have: prints C:\recorded.txt as it is, or never ends when C:\hang exists. */
#include <stdio.h>
#include <fcntl.h>
#include <io.h>
#include <windows.h>

int main(void) {
  if (GetFileAttributesA("C:\\hang") != INVALID_FILE_ATTRIBUTES) {
    Sleep(60000);
    return 1;
  }
  _setmode(_fileno(stdout), _O_BINARY);
  FILE *file = fopen("C:\\recorded.txt", "rb");
  for (int c; file && (c = fgetc(file)) != EOF;) putchar(c);
  return 0;
}
