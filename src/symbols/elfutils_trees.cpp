// SPDX-License-Identifier: GPL-2.0-or-later
// The search trees of elfutils 0.192. Its libelf.a and libdw.a call these functions and lack them:
// upstream keeps them in an archive that is not installed, and Debian 13 has no package with it.
// 0.188 does not call them.
#include <search.h>

namespace {

using Compare = int (*)(const void*, const void*);
using Free = void (*)(void*);

}  // namespace

// A tree begins with the root that tsearch(3) knows (0.192, lib/eu-search.h: search_tree). It has
// no lock in Debian's archives: they are built without thread safety, and a tree is used by the
// thread that uses its Elf or Dwarf.
extern "C" {

// Weak: archives that have their own may bring them along.
[[gnu::weak]] void eu_search_tree_init(void** root) {
  *root = nullptr;
}

[[gnu::weak]] void* eu_tsearch(const void* key, void** root, Compare compare) {
  return tsearch(key, root, compare);
}

[[gnu::weak]] void* eu_tfind(const void* key, void* const* root, Compare compare) {
  return tfind(key, root, compare);
}

[[gnu::weak]] void* eu_tdelete(const void* key, void** root, Compare compare) {
  return tdelete(key, root, compare);
}

[[gnu::weak]] void eu_tdestroy(void** root, Free free_node) {
  tdestroy(*root, free_node);
  *root = nullptr;
}

[[gnu::weak]] void eu_search_tree_fini(void** root, Free free_node) {
  eu_tdestroy(root, free_node);
}

}  // extern "C"
