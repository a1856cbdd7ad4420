// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/source.h"

#include "pprof/pprof.h"

namespace xenoprof {

Result<Recorded> read_source(const std::filesystem::path& source) {
  std::error_code error;
  const auto status = std::filesystem::status(source, error);
  if (!std::filesystem::exists(status)) {
    return fail("{} does not exist; `xenoprof record` makes a session, by default in {}.",
                source.string(), kDefaultSource);
  }
  Recorded recorded;
  if (std::filesystem::is_directory(status)) {
    if (!std::filesystem::exists(source / kProfileFile, error)) {
      return fail("{} is not a session: there is no {} in it.", source.string(), kProfileFile);
    }
    auto session = read_session(source / kSessionFile);
    if (!session) {
      return std::unexpected(session.error());
    }
    recorded.session = *std::move(session);
  }
  auto profile = pprof::read(recorded.session ? source / kProfileFile : source);
  if (!profile) {
    return std::unexpected(profile.error());
  }
  recorded.profile = *std::move(profile);
  return recorded;
}

}  // namespace xenoprof
