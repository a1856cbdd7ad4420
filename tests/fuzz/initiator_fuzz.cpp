// SPDX-License-Identifier: GPL-2.0-or-later
// Whatever the initiator says to an agent: no crash, no hang, no memory that its words do not
// justify (-rss_limit_mb), and every sample that it sent is in the profile that answers.
#include <sys/eventfd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "files/file_descriptor.h"
#include "pprof/pprof.h"
#include "session/channel.h"
#include "session/participant.h"
#include "session/wire.pb.h"

namespace {

using namespace xenoprof;

constexpr std::size_t kLengthSize = 4;

// Has all of the input to read, then it is closed; keeps what is written.
class InputChannel final : public Channel {
 public:
  InputChannel(std::string_view input, std::string& written)
      : input_(input), written_(written), readable_(::eventfd(1, EFD_CLOEXEC)) {}

  Result<std::size_t> read_some(std::span<char> to) override {
    if (input_.empty()) {
      return fail("the peer closed the connection");
    }
    const std::size_t size = input_.copy(to.data(), to.size());
    input_.remove_prefix(size);
    return size;
  }
  Result<std::size_t> write_some(std::span<const char> from) override {
    written_.append(from.data(), from.size());
    return from.size();
  }
  int fd() const override { return readable_.get(); }

 private:
  std::string_view input_;
  std::string& written_;
  FileDescriptor readable_;
};

// The whole messages of a kind among `bytes`.
template <class Message>
std::vector<Message> messages(std::string_view bytes) {
  std::string unused;
  Connection connection(std::make_unique<InputChannel>(bytes, unused), bytes.size());
  std::vector<Message> all;
  for (auto next = connection.receive(); next && *next; next = connection.receive()) {
    if (!all.emplace_back().ParseFromString(**next)) {
      all.pop_back();
      break;
    }
  }
  return all;
}

// How many samples each answer to a stop has to have, up to what the agent refuses. None: the agent
// is asked to sample this system, which is no input's to slow down.
std::optional<std::vector<std::uint64_t>> samples_sent(std::string_view input) {
  std::vector<std::uint64_t> sums;
  std::uint64_t sum = 0;
  for (const auto& message : messages<wire::ToParticipant>(input)) {
    if (message.has_prepare()) {
      sum = 0;
      if (message.prepare().sampling() == wire::ToParticipant::Prepare::SELF) {
        return std::nullopt;
      }
    } else if (message.has_samples()) {
      sum += static_cast<std::uint64_t>(message.samples().tsc_size());
    } else if (message.has_stop()) {
      sums.push_back(sum);
    }
  }
  return sums;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto sums = samples_sent(input);
  if (!sums) {
    return -1;
  }
  std::string written;
  Connection initiator(std::make_unique<InputChannel>(input, written), kLargestToParticipant);
  (void)participate(initiator, nullptr, {});
  std::size_t finished = 0;
  for (const auto& message : messages<wire::FromParticipant>(written)) {
    if (!message.has_finished()) {
      continue;
    }
    const auto profile = pprof::decode(message.finished().profile());
    if (!profile || finished == sums->size()) {
      std::abort();
    }
    std::uint64_t told = 0;
    for (std::size_t event = 0; event < profile->events().size(); ++event) {
      told += profile->total(event);
    }
    if (told != (*sums)[finished++]) {
      std::abort();
    }
  }
  return 0;
}
