// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/xen_domains.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>

// The header is C.
extern "C" {
#include <xenstore.h>
}

#include "hypervisor/domain_names.h"
#include "model/number.h"

namespace xenoprof {
namespace {

// The toolstack calls it Domain-0; xenoprof uses the field's everyday word.
constexpr char kDom0[] = "dom0";

struct CloseStore {
  void operator()(xs_handle* store) const { xs_close(store); }
};
using Store = std::unique_ptr<xs_handle, CloseStore>;

std::optional<std::string> read(xs_handle* store, const std::string& path) {
  unsigned length = 0;
  std::unique_ptr<void, decltype(&std::free)> value(xs_read(store, XBT_NULL, path.c_str(), &length),
                                                    &std::free);
  if (!value) {
    return std::nullopt;
  }
  return std::string(static_cast<const char*>(value.get()), length);
}

std::vector<std::string> list(xs_handle* store, const std::string& path) {
  unsigned count = 0;
  std::unique_ptr<char*, decltype(&std::free)> names(
      xs_directory(store, XBT_NULL, path.c_str(), &count), &std::free);
  return names ? std::vector<std::string>(names.get(), names.get() + count)
               : std::vector<std::string>();
}

}  // namespace

bool on_xen() {
  // Documentation/ABI/stable/sysfs-hypervisor-xen of Linux.
  std::ifstream file("/sys/hypervisor/type");
  std::string type;
  return std::getline(file, type) && type == "xen";
}

Result<std::vector<Domain>> list_xen_domains() {
  const Store store(xs_open(0));
  if (!store) {
    return fail(
        "xenstore does not answer: run this in dom0 of a Xen host, as root, with xenstored "
        "running");
  }
  std::vector<Domain> domains;
  for (const std::string& text : list(store.get(), "/local/domain")) {
    const auto id = number<std::uint16_t>(text);
    if (!id) {
      continue;
    }
    Domain domain{.id = *id};
    const std::string path = "/local/domain/" + text;
    const std::string name = read(store.get(), path + "/name").value_or("");
    if (domain.id != 0 && name.empty()) {
      continue;  // being built or torn down
    }
    domain.name = domain.id == 0 ? kDom0 : fit_name(name);
    domain.type =
        domain.id == 0 ? "pv" : read(store.get(), "/libxl/" + text + "/type").value_or("");
    // The toolstack writes this for guests only; dom0 knows its own.
    domain.vcpus = domain.id == 0 ? static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN))
                                  : static_cast<unsigned>(list(store.get(), path + "/cpu").size());
    domain.has_agent = read(store.get(), path + "/" + kAgentPath + "/ring-ref").has_value();
    domains.push_back(std::move(domain));
  }
  std::ranges::sort(domains, {}, &Domain::id);
  std::vector<NumberedName> names;
  for (Domain& domain : domains) {
    if (domain.id != 0) {
      names.push_back({&domain.name, domain.id});
    }
  }
  make_names_unique(names, kDom0);
  return domains;
}

bool offers_agent() {
  const Store store(xs_open(0));
  return !store || read(store.get(), std::string(kAgentPath) + "/ring-ref");
}

void DomainWatch::Close::operator()(xs_handle* store) const {
  xs_close(store);
}

DomainWatch DomainWatch::open() {
  DomainWatch watch;
  watch.store_.reset(xs_open(0));
  if (watch.store_ && !xs_watch(watch.store_.get(), "@releaseDomain", "ended")) {
    watch.store_.reset();
  }
  return watch;
}

bool DomainWatch::domain_ended() {
  bool ended = false;
  while (store_) {
    const std::unique_ptr<char*, decltype(&std::free)> event(xs_check_watch(store_.get()),
                                                             &std::free);
    if (!event) {
      break;
    }
    ended = true;
  }
  return ended;
}

}  // namespace xenoprof
