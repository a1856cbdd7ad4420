// SPDX-License-Identifier: GPL-2.0-or-later
#include "session/vchan.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

// The library's header is C and casts void pointers in its inline parts.
extern "C" {
#include <libxenvchan.h>
}

#include "hypervisor/xen_domains.h"

namespace xenoprof {
namespace {

// A second of samples at ten thousand a second, so that the agent seldom waits for dom0.
constexpr std::size_t kAgentToInitiator = 512 * 1024;
constexpr std::size_t kInitiatorToAgent = 4096;

struct CloseVchan {
  void operator()(libxenvchan* vchan) const { libxenvchan_close(vchan); }
};
using Vchan = std::unique_ptr<libxenvchan, CloseVchan>;

class VchanChannel final : public Channel {
 public:
  explicit VchanChannel(Vchan vchan) : vchan_(std::move(vchan)) {}

  Result<std::size_t> read_some(std::span<char> to) override {
    const int size = libxenvchan_read(vchan_.get(), to.data(), to.size());
    // Data sent before the peer closed are still to be had, so being open is asked last.
    if (size < 0 || (size == 0 && libxenvchan_is_open(vchan_.get()) == 0)) {
      return fail("the peer closed the connection");
    }
    return static_cast<std::size_t>(size);
  }

  Result<std::size_t> write_some(std::span<const char> from) override {
    if (libxenvchan_is_open(vchan_.get()) == 0) {
      return fail("the peer closed the connection");
    }
    const int size = libxenvchan_write(vchan_.get(), from.data(), from.size());
    if (size < 0) {
      return fail("the peer closed the connection");
    }
    return static_cast<std::size_t>(size);
  }

  int fd() const override { return libxenvchan_fd_for_select(vchan_.get()); }

  // Takes the event, which would otherwise stay pending and keep fd() readable.
  void acknowledge() override { libxenvchan_wait(vchan_.get()); }

 private:
  Vchan vchan_;
};

}  // namespace

Result<std::unique_ptr<Channel>> listen_vchan(const Cancelled& cancelled) {
  // A domain that was saved or migrated has another number, another xenstore folder and none of its
  // event channels: what it offered is gone without a word.
  constexpr int kLookEvery = 10'000;  // ms
  for (;;) {
    Vchan vchan(
        libxenvchan_server_init(nullptr, 0, kAgentPath, kInitiatorToAgent, kAgentToInitiator));
    if (!vchan) {
      return fail(
          "cannot offer a vchan to dom0: {}; it needs the modules xen-gntalloc and xen-evtchn "
          "and a xenstore where this domain may write {}",
          std::strerror(errno), kAgentPath);
    }
    vchan->blocking = 0;
    // 2: nobody has dialled yet. Who dials says so on the event channel.
    bool offered = true;
    while (offered && libxenvchan_is_open(vchan.get()) == 2) {
      pollfd wanted{.fd = libxenvchan_fd_for_select(vchan.get()), .events = POLLIN, .revents = 0};
      const int ready = ::poll(&wanted, 1, kLookEvery);
      if (cancelled()) {
        return fail("the agent was told to end");
      }
      if (ready > 0) {
        libxenvchan_wait(vchan.get());
      }
      offered = ready != 0 || offers_agent();
    }
    if (offered) {
      return std::make_unique<VchanChannel>(std::move(vchan));
    }
  }
}

Result<std::unique_ptr<Channel>> dial_vchan(std::uint16_t domain) {
  const std::string path = fmt::format("/local/domain/{}/{}", domain, kAgentPath);
  Vchan vchan(libxenvchan_client_init(nullptr, domain, path.c_str()));
  if (!vchan) {
    return fail("no agent answers: start `xenoprof agent` in it");
  }
  vchan->blocking = 0;
  return std::make_unique<VchanChannel>(std::move(vchan));
}

}  // namespace xenoprof
