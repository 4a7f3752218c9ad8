"""Does, under Wine, what ``certutil -addstore`` and ``-delstore`` do: ``store.py add STORE FILE``,
``store.py del STORE THUMBPRINT``.

Run by the Windows Python. A certificate (base64) is added through crypt32; Wine's crypt32 does not
take away what it did not add itself, so that the store's key is what goes.
"""

import base64
import ctypes
import sys
import winreg
from ctypes import wintypes

CERT_STORE_PROV_SYSTEM_W, CERT_SYSTEM_STORE_LOCAL_MACHINE = 10, 0x20000
X509_ASN_ENCODING, CERT_STORE_ADD_REPLACE_EXISTING = 1, 3


def add(name: str, file: str) -> None:
    crypt32 = ctypes.WinDLL("crypt32", use_last_error=True)
    crypt32.CertOpenStore.restype = ctypes.c_void_p
    crypt32.CertOpenStore.argtypes = [
        ctypes.c_void_p,
        wintypes.DWORD,
        ctypes.c_void_p,
        wintypes.DWORD,
        wintypes.LPCWSTR,
    ]
    crypt32.CertAddEncodedCertificateToStore.argtypes = [
        ctypes.c_void_p,
        wintypes.DWORD,
        ctypes.c_char_p,
        wintypes.DWORD,
        wintypes.DWORD,
        ctypes.c_void_p,
    ]
    crypt32.CertCloseStore.argtypes = [ctypes.c_void_p, wintypes.DWORD]
    store = crypt32.CertOpenStore(
        CERT_STORE_PROV_SYSTEM_W, 0, None, CERT_SYSTEM_STORE_LOCAL_MACHINE, name
    )
    with open(file, encoding="ascii") as opened:
        encoded = base64.b64decode(opened.read())
    replacing = CERT_STORE_ADD_REPLACE_EXISTING
    done = store and crypt32.CertAddEncodedCertificateToStore(
        store, X509_ASN_ENCODING, encoded, len(encoded), replacing, None
    )
    assert done and crypt32.CertCloseStore(store, 0), ctypes.get_last_error()


def delete(name: str, thumbprint: str) -> None:
    key = f"Software\\Microsoft\\SystemCertificates\\{name}\\Certificates\\{thumbprint}"
    winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, key)


{"add": add, "del": delete}[sys.argv[1]](*sys.argv[2:])
