#pragma once
#include <fmt/format.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>

/// Log lines. In a program they go to stderr through spdlog; inside Python a sink hands them to
/// the logger `proxmoxsandbox`. Levels by who must act: error = something is left or lost,
/// warn = it works, but not as configured, info = what a user wants to see of a run, debug = the
/// rest.
namespace px::log {

enum class Level { debug, info, warn, error };
using Sink = std::function<void(Level, std::string_view)>;

/// Replaces where lines go; an empty sink means stderr again. Called from any thread.
void set_sink(Sink sink);
/// Lines below are dropped before they are formatted. Default: warn, or PROXMOX_SANDBOX_LOG.
void set_level(Level level);
bool enabled(Level level) noexcept;
void write(Level level, std::string_view line);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::debug)) write(Level::debug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::info)) write(Level::info, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::warn)) write(Level::warn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::error)) write(Level::error, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace px::log
