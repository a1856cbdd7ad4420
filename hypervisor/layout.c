// SPDX-License-Identifier: GPL-2.0-or-later
#include "layout.h"

volatile struct layout layout __attribute__((section(".xenoprof.layout"), used)) = { 0 };
