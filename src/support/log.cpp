#include "support/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <mutex>

namespace px::log {

namespace {

Level level_from_environment() {
  const char* text = std::getenv("PROXMOX_SANDBOX_LOG");
  const std::string_view name = text == nullptr ? "" : text;
  if (name == "debug") return Level::debug;
  if (name == "info") return Level::info;
  if (name == "error") return Level::error;
  return Level::warn;
}

std::atomic<Level>& current_level() {
  static std::atomic<Level> level{level_from_environment()};
  return level;
}

std::mutex sink_mutex;
Sink current_sink;

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warn:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

spdlog::logger& stderr_logger() {
  static const auto logger = [] {
    auto made = spdlog::stderr_color_mt("proxmox-sandbox");
    made->set_level(spdlog::level::debug);
    made->set_pattern("%H:%M:%S.%e %^%l%$ %v");
    return made;
  }();
  return *logger;
}

}  // namespace

void set_sink(Sink sink) {
  const std::lock_guard lock{sink_mutex};
  current_sink = std::move(sink);
}

void set_level(Level level) {
  current_level() = level;
}

bool enabled(Level level) noexcept {
  return level >= current_level().load();
}

void write(Level level, std::string_view line) {
  const std::lock_guard lock{sink_mutex};
  if (current_sink) {
    current_sink(level, line);
  } else {
    stderr_logger().log(to_spdlog(level), "{}", line);
  }
}

}  // namespace px::log
