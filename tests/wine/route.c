/* Stands in for route.exe, which Wine does not have: `route print -4` of the true table, as a German Windows prints it. */
#include <winsock2.h>
#include <iphlpapi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text(DWORD address) { return inet_ntoa(*(struct in_addr *)&address); }

static void list(void) {
  ULONG size = 1 << 16;
  IP_ADAPTER_ADDRESSES *all = calloc(1, size);
  if (GetAdaptersAddresses(AF_INET, 0, NULL, all, &size)) return;
  for (IP_ADAPTER_ADDRESSES *nic = all; nic; nic = nic->Next) {
    printf("%3lu...", nic->IfIndex);
    for (DWORD i = 0; i < 6; i++) {
      if (nic->PhysicalAddressLength == 6) printf("%02x ", nic->PhysicalAddress[i]);
      else printf("...");
    }
    printf("......%ls\n", nic->Description);
  }
}

int main(void) {
  ULONG size = 0, size2 = 0;
  GetIpForwardTable(NULL, &size, TRUE);
  GetIpAddrTable(NULL, &size2, FALSE);
  MIB_IPFORWARDTABLE *routes = calloc(1, size + 4096);
  MIB_IPADDRTABLE *held = calloc(1, size2 + 4096);
  size += 4096;
  size2 += 4096;
  if (GetIpForwardTable(routes, &size, TRUE) || GetIpAddrTable(held, &size2, FALSE)) return 1;
  puts("===========================================================================\nSchnittstellenliste");
  list();
  puts("===========================================================================\n\nIPv4-Routentabelle\n"
       "===========================================================================\nAktive Routen:\n"
       "     Netzwerkziel    Netzwerkmaske          Gateway    Schnittstelle Metrik");
  for (DWORD i = 0; i < routes->dwNumEntries; i++) {
    MIB_IPFORWARDROW *row = &routes->table[i];
    char destination[16], mask[16], gateway[20], by[16] = "0.0.0.0";
    snprintf(destination, sizeof destination, "%s", text(row->dwForwardDest));
    snprintf(mask, sizeof mask, "%s", text(row->dwForwardMask));
    snprintf(gateway, sizeof gateway, "%s", row->dwForwardNextHop ? text(row->dwForwardNextHop) : "Auf Verbindung");
    for (DWORD j = held->dwNumEntries; j-- > 0;) {
      if (held->table[j].dwIndex != row->dwForwardIfIndex) continue;
      snprintf(by, sizeof by, "%s", text(held->table[j].dwAddr));
      if (held->table[j].dwAddr == row->dwForwardNextHop) strcpy(gateway, "Auf Verbindung");
    }
    printf("%17s %16s %16s %16s %6lu\n", destination, mask, gateway, by, row->dwForwardMetric1);
  }
  puts("===========================================================================\nSt\x84ndige Routen:\n"
       "  Netzwerkadresse          Netzmaske  Gatewayadresse  Metrik\n"
       "  169.254.169.254  255.255.255.255         10.9.9.9       1\n"
       "===========================================================================");
  return 0;
}
