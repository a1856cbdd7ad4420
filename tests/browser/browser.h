// SPDX-License-Identifier: GPL-2.0-or-later
// A headless Chromium, driven through chromedriver (W3C WebDriver). What goes wrong here is thrown:
// a test cannot go on without its browser.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace httplib {
class Client;
}

namespace xenoprof {

class Browser {
 public:
  Browser(int width, int height);
  ~Browser();
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  // Of an HTML file; `fragment` is what follows '#'.
  void open(const std::filesystem::path& file, const std::string& fragment = {});
  void back();

  // The value of a JavaScript expression in the page.
  nlohmann::json value(const std::string& expression);
  // Of the first element that the CSS selector finds, which must be in sight.
  std::string text(const std::string& selector);
  void click(const std::string& selector);
  void point_at(const std::string& selector);
  // As a person would, into what has the focus. Keys without a character are in WebDriver's
  // private use area: https://www.w3.org/TR/webdriver2/#keyboard-actions
  void type(const std::string& utf8);

  // What the page or the browser complained about since the last call.
  std::vector<std::string> complaints();

  void save_screenshot(const std::filesystem::path& png);

 private:
  nlohmann::json call(const char* method, const std::string& path,
                      const nlohmann::json& body = nlohmann::json::object());
  nlohmann::json element(const std::string& selector);
  std::string session_path(const std::string& path) const { return "/session/" + id_ + path; }

  struct Pipe {
    void operator()(std::FILE* pipe) const { pclose(pipe); }
  };
  std::filesystem::path folder_;  // of the browser's own files
  std::unique_ptr<std::FILE, Pipe> driver_;
  std::unique_ptr<httplib::Client> http_;
  std::string id_;  // of the WebDriver session
};

inline constexpr char kEscape[] = "\uE00C";
inline constexpr char kUp[] = "\uE013";
inline constexpr char kEnter[] = "\uE007";

}  // namespace xenoprof
