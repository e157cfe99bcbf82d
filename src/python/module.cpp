// The extension module: the core's operations as Python objects. No decisions here.
#include "python/operation.hpp"
#include "sandbox/cleanup.hpp"
#include "sandbox/run.hpp"
#include "sandbox/sandbox.hpp"
#include "sandbox/spec.hpp"
#include "support/log.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/system/system_error.hpp>
#include <nanobind/nanobind.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <string>
#include <thread>

namespace nb = nanobind;
using namespace nb::literals;

namespace px::python {

namespace {

// Owned by the module; set in NB_MODULE.
PyObject* core_error = nullptr;

/// Raises CoreError with its fields.
void raise(std::string_view kind, const char* message, const std::string& partial_output) {
  nb::object error = nb::steal(PyObject_CallFunction(core_error, "s", message));
  if (!error.is_valid()) return;  // Python has set an error of its own
  error.attr("kind") = nb::str(kind.data(), kind.size());
  error.attr("message") = nb::str(message);
  error.attr("partial_output") = nb::bytes(partial_output.data(), partial_output.size());
  PyErr_SetObject(core_error, error.ptr());
}

void translate(const std::exception_ptr& pointer, void*) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Error& e) {
    raise(name_of(e.kind), e.what(), e.partial_output);
  } catch (const boost::system::system_error& e) {
    const bool cancelled = e.code() == asio::error::operation_aborted;
    raise(name_of(cancelled ? Errc::cancelled : Errc::internal), e.what(), {});
  }
}

std::string from_bytes(const nb::bytes& bytes) {
  return {bytes.c_str(), bytes.size()};
}

/// Python's bytes, kept alive by the core. Large ones are copied on the core's thread and without
/// the GIL, for copying 50 MiB holds up the event loop for 30 ms.
using Bytes = std::shared_ptr<const nb::bytes>;

Bytes hold(nb::bytes bytes) {
  return {new nb::bytes{std::move(bytes)}, [](const nb::bytes* kept) {
            const nb::gil_scoped_acquire gil;
            delete kept;
          }};
}

/// Any thread.
std::string copy_of(const Bytes& bytes) {
  return {PyBytes_AS_STRING(bytes->ptr()),
          static_cast<std::size_t>(PyBytes_GET_SIZE(bytes->ptr()))};
}

/// On the core's thread.
Bytes to_bytes(const std::string& text) {
  Bytes made;
  {
    const nb::gil_scoped_acquire gil;
    PyObject* empty = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(text.size()));
    if (!empty) throw nb::python_error{};
    made = hold(nb::steal<nb::bytes>(empty));
  }
  // Nobody else has seen the object.
  std::ranges::copy(text, PyBytes_AS_STRING(made->ptr()));
  return made;
}

int python_level(log::Level level) {
  switch (level) {
    case log::Level::debug:
      return 10;
    case log::Level::info:
      return 20;
    case log::Level::warn:
      return 30;
    case log::Level::error:
      return 40;
  }
  return 40;
}

/// Python's Vm: the core's, and the thread that works for it.
struct PyVm {
  std::shared_ptr<sandbox::Vm> vm;
  asio::io_context* io;
};

/// What Python holds is let go of on the core's thread, for only that may touch it. `at_the_end`
/// is called there before.
template <class T>
std::shared_ptr<T> held_by_python(std::shared_ptr<T> object, std::shared_ptr<asio::io_context> io,
                                  void (*at_the_end)(T&)) {
  auto* const raw = object.get();
  return {raw, [object = std::move(object), io = std::move(io), at_the_end](T*) mutable {
            asio::post(*io, [kept = std::move(object), at_the_end] { at_the_end(*kept); });
          }};
}

/// Python's Sandbox. When Python lets go of it, its sample has ended: what was not destroyed stays
/// on purpose, and its place is given back.
struct PySandbox {
  std::shared_ptr<sandbox::Sandbox> sandbox;
  asio::io_context* io;

  std::vector<PyVm> vms() const {
    std::vector<PyVm> out;
    for (const auto& vm : sandbox->vms()) {
      if (vm->is_sandbox()) out.push_back({vm, io});
    }
    return out;
  }
};

/// Python's Place.
struct PyPlace {
  std::shared_ptr<sandbox::Place> place;
};

/// The I/O thread, the pool, and the run that this process is.
class Core {
 public:
  explicit Core(nb::object log) : log_{std::move(log)} {
    log::set_level(log::Level::debug);  // Python's logger filters
    log::set_sink([this](log::Level level, std::string_view line) {
      const nb::gil_scoped_acquire gil;
      try {
        log_(python_level(level), nb::str(line.data(), line.size()));
      } catch (nb::python_error& e) {
        e.discard_as_unraisable("proxmoxsandbox log");
      }
    });
    thread_ = std::thread{[this] { io_->run(); }};
  }
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;
  ~Core() { close(); }

  void close() {
    if (!thread_.joinable()) return;
    const nb::gil_scoped_release no_gil;  // the thread may be waiting to log
    guard_.reset();
    io_->stop();
    thread_.join();
    pool_.join();
    log::set_sink({});
  }

  auto prepare(std::string spec) { return start(*io_, run_.prepare(std::move(spec))); }
  auto take_place(std::string spec, std::string task, std::string sample) {
    return start(
        *io_, take_held(std::move(spec), std::move(task), std::move(sample)),
        [](std::shared_ptr<sandbox::Place> taken) { return nb::cast(PyPlace{std::move(taken)}); });
  }
  auto bring_up(std::string spec, std::string task, std::string sample, PyPlace& place) {
    return start(*io_,
                 bring_up_held(std::move(spec), std::move(task), std::move(sample),
                               std::exchange(place.place, nullptr)),
                 [io = io_.get()](std::shared_ptr<sandbox::Sandbox> made) {
                   return nb::cast(PySandbox{std::move(made), io});
                 });
  }
  auto capacity() {
    return start(*io_, run_.capacity(), [](std::optional<int> number) { return nb::cast(number); });
  }
  std::pair<int, int> use(const std::string& pool) const {
    const auto use = run_.use_of(pool);
    return {use.samples, use.most};
  }
  auto sweep(bool cleanup) {
    return start(*io_, run_.sweep(cleanup),
                 [](std::vector<std::string> lines) { return nb::cast(lines); });
  }
  auto cleanup(std::optional<std::string> id) {
    return start(*io_, sandbox::cleanup_from_environment(pool_, id.value_or("")),
                 [](std::vector<std::string> lines) { return nb::cast(lines); });
  }

 private:
  awaitable<std::shared_ptr<sandbox::Place>> take_held(std::string spec, std::string task,
                                                       std::string sample) {
    auto taken = co_await run_.take_place(std::move(spec), std::move(task), std::move(sample));
    co_return held_by_python<sandbox::Place>(std::move(taken), io_, [](sandbox::Place&) {});
  }
  awaitable<std::shared_ptr<sandbox::Sandbox>> bring_up_held(
      std::string spec, std::string task, std::string sample,
      std::shared_ptr<sandbox::Place> place) {
    auto made = co_await run_.bring_up(std::move(spec), std::move(task), std::move(sample),
                                       std::move(place));
    co_return held_by_python<sandbox::Sandbox>(std::move(made), io_,
                                               [](sandbox::Sandbox& ended) { ended.leave(); });
  }

  nb::object log_;
  /// Shared with what Python holds, which may live longer.
  std::shared_ptr<asio::io_context> io_ = std::make_shared<asio::io_context>(1);
  asio::executor_work_guard<asio::io_context::executor_type> guard_{io_->get_executor()};
  asio::thread_pool pool_{2};
  sandbox::Run run_{io_->get_executor(), pool_};
  std::thread thread_;
};

struct ExecAnswer {
  int status = 0;
  Bytes out, err;
};

awaitable<ExecAnswer> exec_held(std::shared_ptr<sandbox::Vm> vm, guest::ExecRequest request,
                                Bytes input) {
  if (input) request.input = copy_of(input);
  input.reset();
  const auto result = co_await vm->exec(std::move(request));
  co_return ExecAnswer{result.status, to_bytes(result.out), to_bytes(result.err)};
}

awaitable<Bytes> read_held(std::shared_ptr<sandbox::Vm> vm, std::string path, std::uint64_t limit) {
  co_return to_bytes(co_await vm->read_file(std::move(path), limit));
}

awaitable<void> write_held(std::shared_ptr<sandbox::Vm> vm, std::string path, Bytes contents) {
  std::string copy = copy_of(contents);
  contents.reset();
  co_await vm->write_file(std::move(path), std::move(copy));
}

auto exec(const PyVm& self, const std::vector<nb::bytes>& argv,
          const std::optional<nb::bytes>& input, std::optional<std::string> cwd,
          std::map<std::string, std::string> env, std::optional<std::string> user,
          std::optional<double> timeout, std::uint64_t output_limit) {
  guest::ExecRequest request;
  for (const auto& word : argv) request.command.argv.push_back(from_bytes(word));
  request.command.cwd = cwd.value_or("");
  request.command.env.assign(env.begin(), env.end());
  request.user = user.value_or("");
  if (timeout) {
    request.timeout = std::chrono::milliseconds{static_cast<std::int64_t>(*timeout * 1000)};
  }
  request.output_limit = output_limit;
  return start(*self.io, exec_held(self.vm, std::move(request), input ? hold(*input) : Bytes{}),
               [](const ExecAnswer& answer) {
                 return nb::object{nb::make_tuple(answer.status, *answer.out, *answer.err)};
               });
}

auto read_file(const PyVm& self, std::string path, std::uint64_t limit) {
  return start(*self.io, read_held(self.vm, std::move(path), limit),
               [](const Bytes& bytes) { return nb::object{*bytes}; });
}

auto write_file(const PyVm& self, std::string path, const nb::bytes& contents) {
  return start(*self.io, write_held(self.vm, std::move(path), hold(contents)));
}

void bind_operation(nb::module_& m) {
  nb::class_<OperationState>(m, "Operation", "One running operation of the core.")
      .def("fileno", &OperationState::fd, "An eventfd, readable once the operation has ended.")
      .def("done", &OperationState::done)
      .def("result", &OperationState::result, "After the end: the result, or raises CoreError.")
      .def("cancel", &OperationState::cancel,
           "Asks it to stop. It still ends; result() then raises CoreError of kind cancelled.")
      .def("close", &OperationState::close, "Closes the descriptor.");
}

void bind_vm(nb::module_& m) {
  nb::class_<PyVm>(m, "Vm", "One running VM.")
      .def_prop_ro("name", [](const PyVm& self) { return self.vm->name(); })
      .def_prop_ro("vmid", [](const PyVm& self) { return self.vm->vmid(); })
      .def_prop_ro("node", [](const PyVm& self) { return self.vm->node(); })
      .def_prop_ro("host", [](const PyVm& self) { return self.vm->host(); })
      .def_prop_ro("windows", [](const PyVm& self) { return self.vm->is_windows(); })
      .def(
          "console", [](const PyVm& self) { return self.vm->console_url(); },
          "URL of the VM's console in the Proxmox VE user interface.")
      .def(
          "timings", [](const PyVm& self) { return self.vm->timings(); },
          "Seconds by step: clone, configure, start, agent, commands.")
      .def_prop_ro(
          "addresses", [](const PyVm& self) { return self.vm->addresses(); },
          "Addresses by VNet (its alias, or the card's name), as seen when the VM came up.")
      .def("exec", &exec, "argv"_a, "input"_a.none(), "cwd"_a.none(), "env"_a, "user"_a.none(),
           "timeout"_a.none(), "output_limit"_a)
      .def("read_file", &read_file, "path"_a, "limit"_a)
      .def("write_file", &write_file, "path"_a, "contents"_a)
      .def(
          "create_snapshot",
          [](const PyVm& self, std::string name, std::string description) {
            return start(*self.io,
                         self.vm->create_snapshot(std::move(name), std::move(description)));
          },
          "name"_a, "description"_a)
      .def(
          "restore_snapshot",
          [](const PyVm& self, std::string name) {
            return start(*self.io, self.vm->restore_snapshot(std::move(name)));
          },
          "name"_a)
      .def(
          "delete_snapshot",
          [](const PyVm& self, std::string name) {
            return start(*self.io, self.vm->delete_snapshot(std::move(name)));
          },
          "name"_a)
      .def("list_snapshots", [](const PyVm& self) {
        return start(*self.io, self.vm->list_snapshots(), [](std::string json) {
          return nb::object{nb::str(json.data(), json.size())};
        });
      });
}

void bind_core(nb::module_& m) {
  nb::class_<PySandbox>(m, "Sandbox", "The VMs of one sample.")
      .def_prop_ro("vms", &PySandbox::vms)
      .def("destroy",
           [](const PySandbox& self) { return start(*self.io, self.sandbox->destroy()); });
  nb::class_<PyPlace>(m, "Place", "A sample's room on a host, given back when it goes.");
  nb::class_<Core>(m, "Core", "The I/O thread and all that this process made; one per process.")
      .def(nb::init<nb::object>(), "log"_a)
      .def("prepare", &Core::prepare, "spec"_a)
      .def("take_place", &Core::take_place, "spec"_a, "task"_a, "sample"_a)
      .def("bring_up", &Core::bring_up, "spec"_a, "task"_a, "sample"_a, "place"_a)
      .def("capacity", &Core::capacity)
      .def("use", &Core::use, "pool"_a, "Samples of a pool that have a place, and how many may.")
      .def("sweep", &Core::sweep, "cleanup"_a)
      .def("cleanup", &Core::cleanup, "id"_a.none())
      .def("close", &Core::close);
}

}  // namespace
}  // namespace px::python

NB_MODULE(_core, m) {
  using namespace px::python;
  m.doc() = "The C++ core of Proxmox Sandbox.";
  core_error = PyErr_NewExceptionWithDoc("proxmoxsandbox._core.CoreError",
                                         "A failure of the core: kind, message, partial_output.",
                                         PyExc_Exception, nullptr);
  m.attr("CoreError") = nb::handle(core_error);
  nb::register_exception_translator(translate);
  m.def(
      "check_spec", [](const std::string& spec) { px::sandbox::parse_spec(spec); }, "spec"_a,
      "Checks a configuration, offline. Raises CoreError of kind bad_input or unsupported.");
  bind_operation(m);
  bind_vm(m);
  bind_core(m);
}
