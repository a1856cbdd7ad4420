// SPDX-License-Identifier: GPL-2.0-or-later
// Sessions of a KVM host while spin_a and spin_b (programs/spin.c) run in its guests.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "session_lab.h"

namespace xenoprof {

class SpinLab : public SessionLab {
 protected:
  static void copy_spin(const std::vector<std::string>& guests);

  // In guest1 and guest2 at once.
  static void in_both(const std::string& script);
  // With the second CPU of guest1 and guest2 on, then off; on again afterwards.
  static void on_two_vcpus_and_on_one(const std::function<void(int vcpus)>& test);

  // User samples of the two programs' text, by the process that they are charged to.
  struct Spun {
    std::uint64_t a = 0;
    std::uint64_t b = 0;
    std::uint64_t astray = 0;  // of a program's text, charged to another
  };
  static Spun spun(const std::string& guest, const std::string& event);
  // User samples of a guest's that are of no image.
  static std::uint64_t nameless(const std::string& guest, const std::string& event);
  static constexpr double kWithin = 3;  // points
  // Within that, each sample of a program's text that program's, none of no image.
  static void expect_three_to_one(const std::string& guest, const std::string& event,
                                  std::uint64_t least);
};

}  // namespace xenoprof
