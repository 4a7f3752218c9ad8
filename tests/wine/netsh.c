/* Stands in for netsh.exe, of which Wine has an empty one: `interface ipv4 show ipaddresses` of the true addresses, as a German Windows
   prints it. SkipAsSource is set for those that C:\skip names. */
#include <winsock2.h>
#include <iphlpapi.h>
#include <stdio.h>
#include <fcntl.h>
#include <io.h>
#include <stdlib.h>
#include <string.h>

static int skips(const char *address) {
  char line[64];
  int found = 0;
  FILE *file = fopen("C:\\skip", "r");
  while (file && fgets(line, sizeof line, file)) found |= !strncmp(line, address, strlen(address));
  if (file) fclose(file);
  return found;
}

int main(int count, char **words) {
  int shows = 0, verbose = 0;
  for (int i = 1; i < count; i++) {
    shows |= !strcmp(words[i], "ipaddresses");
    verbose |= !strcmp(words[i], "level=verbose");
  }
  if (!shows) return 0;
  _setmode(_fileno(stdout), _O_BINARY);
  ULONG size = 1 << 16;
  IP_ADAPTER_ADDRESSES *all = calloc(1, size);
  if (GetAdaptersAddresses(AF_INET, 0, NULL, all, &size)) return 1;
  for (IP_ADAPTER_ADDRESSES *nic = all; nic; nic = nic->Next) {
    if (!verbose) {
      printf("\r\nSchnittstelle %lu: %ls\r\n\r\nAdresstyp  DAD-Status  G\x81ltigkeit Bevorzugt  Adresse\r\n", nic->IfIndex, nic->FriendlyName);
      printf("---------  ----------- ---------- ---------- ------------------------\r\n");
    }
    for (IP_ADAPTER_UNICAST_ADDRESS *item = nic->FirstUnicastAddress; item; item = item->Next) {
      char address[16];
      strcpy(address, inet_ntoa(((struct sockaddr_in *)item->Address.lpSockaddr)->sin_addr));
      if (verbose)
        printf("Parameter der Adresse %s\r\n---------------------------------------------------------\r\n"
               "Schnittstellen-LUID : %ls\r\nBereichs-ID         : 0.0\r\nDAD-Status          : Bevorzugt\r\n"
               "Als Quelle \x81""berspringen : %s\r\n\r\n", address, nic->FriendlyName, skips(address) ? "wahr" : "falsch");
      else
        printf("Andere     Bevorzugt    unendlich  unendlich %s\r\n", address);
    }
  }
  return 0;
}
