// A child process, for tests of code that ends processes.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spdlog/fmt/fmt.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>

namespace pixelbert {

class ChildProcess {
 public:
  // Runs `work` in a child, which ends with its result as exit code. Call while this process has no other threads.
  explicit ChildProcess(const std::function<int()>& work) {
    static int count = 0;
    log_ = std::filesystem::temp_directory_path() / fmt::format("pixelbert-child-{}-{}", ::getpid(), ++count);
    std::fflush(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    const int log = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
    if (::dup2(log, STDOUT_FILENO) < 0 || ::dup2(log, STDERR_FILENO) < 0) std::_Exit(3);
    const int code = work();
    std::fflush(nullptr);
    std::_Exit(code);
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess() {
    if (pid_ > 0 && !ended_) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove(log_);
  }

  pid_t pid() const { return pid_; }
  void signal(int signal) const { ::kill(pid_, signal); }

  void stop() const {  // until signal(SIGCONT)
    ::kill(pid_, SIGSTOP);
    ::waitpid(pid_, nullptr, WUNTRACED);
  }

  bool runs() {
    ended_ = ended_ || ::waitpid(pid_, &status_, WNOHANG) == pid_;
    return !ended_;
  }

  // Returns its exit code, or 128 plus its signal. Throws after a minute.
  int wait() {
    for (int i = 0; i < 600 && runs(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (!ended_) throw std::runtime_error("the process of the test does not end");
    return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
  }

  std::string output() const {
    std::ifstream log(log_);
    return {std::istreambuf_iterator<char>(log), {}};
  }

 private:
  std::filesystem::path log_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

// A pipe between a test and its processes.
class Pipe {
 public:
  Pipe() {
    if (::pipe(ends_) != 0) throw std::runtime_error("no pipe");
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }

  void put(const std::string& line) const {
    const std::string text = line + "\n";
    if (::write(ends_[1], text.data(), text.size()) < 0) throw std::runtime_error("cannot write to a pipe");
  }

  std::string get() const {  // the next line; waits for it
    std::string line;
    for (char c = 0; ::read(ends_[0], &c, 1) == 1 && c != '\n';) line += c;
    return line;
  }

 private:
  int ends_[2];
};

}  // namespace pixelbert
