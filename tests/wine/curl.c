/* Stands in for curl.exe, which Wine has not: one GET, printed as curl -i -v -w does it, for the options that imds-check.ps1 gives it. */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *reason(int code) {
  switch (code) {
    case WSAECONNREFUSED: return "Connection refused";
    case WSAEACCES: return "Bad access";
    case WSAENETUNREACH: return "Network unreachable";
    case WSAEHOSTUNREACH: return "Host unreachable";
    case WSAETIMEDOUT: return "Timed out";
    default: return "Unknown error";
  }
}

int main(int count, char **words) {
  const char *header = "", *by = NULL, *url = words[count - 1];
  char host[64] = "", target[512] = "/", text[1024];
  int port = 80;
  for (int i = 1; i + 1 < count; i++) {
    if (!strcmp(words[i], "-H")) header = words[i + 1];
    if (!strcmp(words[i], "--interface")) by = words[i + 1];
  }
  sscanf(url, "http://%63[^:]:%d%511s", host, &port, target);
  _setmode(_fileno(stdout), _O_BINARY);
  WSADATA data;
  WSAStartup(MAKEWORD(2, 2), &data);
  SOCKET made = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)}, own = {.sin_family = AF_INET};
  to.sin_addr.s_addr = inet_addr(host);
  fprintf(stderr, "*   Trying %s:%d...\r\n", host, port);
  if (by) {
    own.sin_addr.s_addr = inet_addr(by);
    bind(made, (struct sockaddr *)&own, sizeof own);
  }
  u_long yes = 1;
  ioctlsocket(made, FIONBIO, &yes);
  connect(made, (struct sockaddr *)&to, sizeof to);
  fd_set writes, fails;
  struct timeval wait = {3, 0};
  FD_ZERO(&writes);
  FD_ZERO(&fails);
  FD_SET(made, &writes);
  FD_SET(made, &fails);
  int error = WSAGetLastError(), size = sizeof error;
  if (error == WSAEWOULDBLOCK) {
    if (!select(0, NULL, &writes, &fails, &wait)) {
      fprintf(stderr, "* Connection timed out after 3003 milliseconds\r\n");
      printf("\n 0.000000 3.003000");
      return 28;
    }
    getsockopt(made, SOL_SOCKET, SO_ERROR, (char *)&error, &size);
  }
  if (error) {
    fprintf(stderr, "* connect to %s port %d from 0.0.0.0 port 50000 failed: %s\r\n", host, port, reason(error));
    printf("\n 0.000000 0.010000");
    return 7;
  }
  yes = 0;
  ioctlsocket(made, FIONBIO, &yes);
  size = sizeof own;
  getsockname(made, (struct sockaddr *)&own, &size);
  fprintf(stderr, "* Connected to %s (%s) port %d (#0)\r\n> GET %s HTTP/1.1\r\n", host, host, port, target);
  fflush(stderr);
  snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\nConnection: close\r\n\r\n", target, host, header);
  send(made, text, strlen(text), 0);
  DWORD milliseconds = 5000;
  setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, (char *)&milliseconds, sizeof milliseconds);
  int got, all = 0;
  while ((got = recv(made, text, sizeof text, 0)) > 0) {
    fwrite(text, 1, got, stdout);
    all += got;
  }
  printf("\n%s 0.002000 0.004000", inet_ntoa(own.sin_addr));
  if (got < 0) return 28;
  return all ? 0 : 52;
}
