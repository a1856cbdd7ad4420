// SPDX-License-Identifier: GPL-2.0-or-later
#include "browser.h"

#include <fmt/format.h>
#include <httplib.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <stdexcept>

namespace xenoprof {
namespace {

using Json = nlohmann::json;

// Chromium's own sandbox needs what a build machine seldom grants; the pages are our own.
Json capabilities(int width, int height, const std::filesystem::path& folder) {
  const Json arguments = {"--headless",
                          "--no-sandbox",
                          "--disable-gpu",
                          "--disable-quic",
                          "--no-first-run",
                          "--disable-background-networking",
                          "--disable-component-update",
                          "--disable-sync",
                          "--hide-scrollbars",
                          fmt::format("--window-size={},{}", width, height),
                          "--user-data-dir=" + (folder / "profile").string()};
  return {{"capabilities",
           {{"alwaysMatch",
             {{"browserName", "chrome"},
              {"goog:chromeOptions", {{"args", arguments}}},
              {"goog:loggingPrefs", {{"browser", "ALL"}}}}}}}};
}

std::filesystem::path make_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "xenoprof-browser-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw std::runtime_error("no folder for the browser can be made");
  }
  return name;
}

}  // namespace

Browser::Browser(int width, int height) : folder_(make_folder()) {
  // It ends with this process, however that ends.
  driver_.reset(popen("exec setpriv --pdeathsig TERM chromedriver --port=0 2>&1", "r"));
  std::array<char, 4096> line = {};
  int port = 0;
  while (port == 0 && driver_ != nullptr &&
         std::fgets(line.data(), static_cast<int>(line.size()), driver_.get()) != nullptr) {
    std::sscanf(line.data(), "ChromeDriver was started successfully on port %d", &port);
  }
  if (port == 0) {
    throw std::runtime_error("chromedriver does not start; `lab/setup.sh checks` installs it");
  }
  http_ = std::make_unique<httplib::Client>("127.0.0.1", port);
  http_->set_read_timeout(60);
  id_ = call("POST", "/session", capabilities(width, height, folder_)).at("sessionId");
}

Browser::~Browser() {
  if (http_ != nullptr) {
    if (!id_.empty()) {
      http_->Delete(session_path("").c_str());
    }
    http_->Get("/shutdown");
  }
  driver_.reset();
  std::error_code error;
  std::filesystem::remove_all(folder_, error);
}

Json Browser::call(const char* method, const std::string& path, const Json& body) {
  const auto response = std::string_view(method) == "GET"
                            ? http_->Get(path.c_str())
                            : http_->Post(path.c_str(), body.dump(), "application/json");
  if (!response) {
    throw std::runtime_error("chromedriver does not answer to " + path);
  }
  Json answer = Json::parse(response->body).at("value");
  if (response->status != 200) {
    throw std::runtime_error(fmt::format("{}: {}", path, answer.at("message").get<std::string>()));
  }
  return answer;
}

void Browser::open(const std::filesystem::path& file, const std::string& fragment) {
  // A page that differs in its fragment alone would not be loaded again.
  call("POST", session_path("/url"), {{"url", "about:blank"}});
  call("POST", session_path("/url"),
       {{"url", "file://" + std::filesystem::absolute(file).string() +
                    (fragment.empty() ? "" : "#" + fragment)}});
}

void Browser::back() {
  call("POST", session_path("/back"));
}

Json Browser::value(const std::string& expression) {
  return call("POST", session_path("/execute/sync"),
              {{"script", "return " + expression}, {"args", Json::array()}});
}

// Finding an element gives an object that stands for it in later calls.
Json Browser::element(const std::string& selector) {
  return call("POST", session_path("/element"), {{"using", "css selector"}, {"value", selector}});
}

std::string Browser::text(const std::string& selector) {
  const Json found = element(selector);
  return call("GET", session_path("/element/" + found.begin()->get<std::string>() + "/text"));
}

void Browser::click(const std::string& selector) {
  const Json found = element(selector);
  call("POST", session_path("/element/" + found.begin()->get<std::string>() + "/click"));
}

void Browser::point_at(const std::string& selector) {
  const Json move = {
      {"type", "pointerMove"}, {"duration", 0}, {"x", 0}, {"y", 0}, {"origin", element(selector)}};
  call("POST", session_path("/actions"),
       {{"actions", {{{"type", "pointer"}, {"id", "mouse"}, {"actions", {move}}}}}});
}

void Browser::type(const std::string& utf8) {
  const auto active = call("GET", session_path("/element/active"));
  call("POST", session_path("/element/" + active.begin()->get<std::string>() + "/value"),
       {{"text", utf8}});
}

std::vector<std::string> Browser::complaints() {
  std::vector<std::string> messages;
  for (const Json& entry : call("POST", session_path("/se/log"), {{"type", "browser"}})) {
    messages.push_back(entry.at("message"));
  }
  return messages;
}

void Browser::save_screenshot(const std::filesystem::path& png) {
  const std::string coded = call("GET", session_path("/screenshot"));
  std::string bytes(coded.size(), '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(coded.data()),
                                   static_cast<int>(coded.size()));
  // Padding is decoded as well; a PNG file does not mind what follows it.
  bytes.resize(static_cast<std::size_t>(std::max(size, 0)));
  std::ofstream(png, std::ios::binary) << bytes;
}

}  // namespace xenoprof
