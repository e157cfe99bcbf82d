#include "guest/linux/launch.hpp"

#include "guest/linux/program.hpp"
#include "guest/linux/scripts.hpp"
#include "guest/run_machine.hpp"

#include <iterator>

namespace px::guest::linux_guest {

namespace {

Launch shell_launch(std::string script, std::vector<std::string> args, std::string input) {
  Launch launch{{"/bin/sh", "-c", std::move(script), "sh"}, std::move(input)};
  launch.argv.insert(launch.argv.end(), std::make_move_iterator(args.begin()),
                     std::make_move_iterator(args.end()));
  return launch;
}

}  // namespace

bool fits_inline(const RunRequest& request) {
  return escape(request.program).size() + 1 + request.rest.size() <= Channel::max_input;
}

Launch run_launch(const RunRequest& request, const std::string& boot_id,
                  const std::vector<std::string>& forget) {
  std::vector<std::string> args{std::string{record_directory},
                                request.id,
                                std::to_string(answer_cap),
                                std::to_string(request.keep),
                                request.standard_input,
                                request.user,
                                request.home_user,
                                boot_id.empty() ? "-" : boot_id};
  args.insert(args.end(), forget.begin(), forget.end());
  return shell_launch(run_script(), std::move(args), escape(request.program) + "\n" + request.rest);
}

Launch kill_launch(const std::string& id) {
  return shell_launch(kill_script(),
                      {std::string{record_directory}, id, std::to_string(answer_cap)}, {});
}

Launch pack_launch(const std::string& id, std::uint64_t limit) {
  return shell_launch(
      pack_script(),
      {std::string{record_directory}, id, std::to_string(answer_cap), std::to_string(limit)}, {});
}

}  // namespace px::guest::linux_guest
