// SPDX-License-Identifier: GPL-2.0-or-later
// Debian has fmt as a shared library and as headers. The agent is a static program, and compiling
// the headers' function bodies in every file doubles the time of a build: here they are once.
#include <fmt/format-inl.h>

// The templates that the headers only declare (format.h, "decimal_point_impl" and below; vformat_to
// is one of them since fmt 10).
FMT_BEGIN_NAMESPACE
namespace detail {
template char decimal_point_impl(locale_ref);
template thousands_sep_result<char> thousands_sep_impl(locale_ref);
template std::locale locale_ref::get<std::locale>() const;
template void vformat_to(buffer<char>&, basic_string_view<char>, basic_format_args<format_context>,
                         locale_ref);
}  // namespace detail
FMT_END_NAMESPACE
