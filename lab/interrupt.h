// SPDX-License-Identifier: GPL-2.0-or-later
// Ctrl-C during `lab up`: what was begun must be ended properly, so signals only leave a mark.
#pragma once

namespace xenoprof::lab {

// From now on SIGINT and SIGTERM do not end this process.
void catch_interrupts();
// Whether one came.
bool interrupted();

}  // namespace xenoprof::lab
