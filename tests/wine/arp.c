/* Stands in for arp.exe, of which Wine has only the name: `arp -a -v` of the true table, as a German Windows prints it. */
#include <winsock2.h>
#include <iphlpapi.h>
#include <stdio.h>
#include <stdlib.h>

static const char *text(DWORD address) { return inet_ntoa(*(struct in_addr *)&address); }

int main(void) {
  static const char *const TYPES[] = {"", "andere", "ung\x81ltig", "dynamisch", "statisch"};
  ULONG size = 0, size2 = 0;
  GetIpNetTable(NULL, &size, TRUE);
  GetIpAddrTable(NULL, &size2, FALSE);
  MIB_IPNETTABLE *entries = calloc(1, size + 4096);
  MIB_IPADDRTABLE *held = calloc(1, size2 + 4096);
  size += 4096;
  size2 += 4096;
  if (GetIpNetTable(entries, &size, TRUE) || GetIpAddrTable(held, &size2, FALSE)) return 1;
  DWORD before = 0;
  for (DWORD i = 0; i < entries->dwNumEntries; i++) {
    MIB_IPNETROW *row = &entries->table[i];
    if (row->dwIndex != before) {
      const char *own = "0.0.0.0";
      for (DWORD j = 0; j < held->dwNumEntries; j++)
        if (held->table[j].dwIndex == row->dwIndex) own = text(held->table[j].dwAddr);
      printf("\nSchnittstelle: %s --- 0x%lx\n  Internetadresse       Physische Adresse     Typ\n", own, row->dwIndex);
      before = row->dwIndex;
      /* Windows keeps one for each NIC, of IGMP; from its word a reader learns which one stands for static. */
      printf("  %-20s  %-20s  %s\n", "224.0.0.22", "01-00-5e-00-00-16", TYPES[4]);
    }
    char mac[20] = "";
    const BYTE *b = row->bPhysAddr;
    if (row->dwPhysAddrLen == 6 && (b[0] | b[1] | b[2] | b[3] | b[4] | b[5]))
      snprintf(mac, sizeof mac, "%02x-%02x-%02x-%02x-%02x-%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
    printf("  %-20s  %-20s  %s\n", text(row->dwAddr), mac, TYPES[row->dwType < 5 ? row->dwType : 1]);
  }
  return 0;
}
