// SPDX-License-Identifier: GPL-2.0-or-later
#include "flame_page.h"

// Both in flame_page.S.
extern "C" const char xenoprof_flame_page[];
extern "C" const char xenoprof_flame_page_end[];

namespace xenoprof {

std::string_view flame_page() {
  return {xenoprof_flame_page, xenoprof_flame_page_end};
}

}  // namespace xenoprof
