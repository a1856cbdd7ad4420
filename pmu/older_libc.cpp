// SPDX-License-Identifier: GPL-2.0-or-later
// QEMU runs with its own C library, Debian 12's glibc 2.36. What a newer compiler's libstdc++.a
// asks of a newer glibc is here instead.

extern "C" {

// By its symbol: with newer headers, strtoul() is the function below.
unsigned long strtoul_of_c17(const char* text, char** end, int base) asm("strtoul");

// glibc 2.38, stdlib.h: strtoul() as of C23, which also reads binary numbers. libstdc++ 14 reads
// GLIBCXX_TUNABLES with it (eh_alloc.cc).
// NOLINTNEXTLINE(bugprone-reserved-identifier)
unsigned long __isoc23_strtoul(const char* text, char** end, int base) {
  return strtoul_of_c17(text, end, base);
}

}  // extern "C"
