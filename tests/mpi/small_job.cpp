// The shortest job that ends like the program (apps/main.cpp), for the tests of the launch scripts.
//
//   small_job throw R         rank R throws while the others wait for it
//   small_job exit CODE       every rank ends with CODE
//   small_job until-stopped   works until any rank has got SIGTERM or SIGUSR1, then for two seconds "saves"; exit 75
//   small_job threads         rank 0 prints OMP_NUM_THREADS and the ranks
#include <ATen/ATen.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

#include "comm/mpi_communicator.h"
#include "core/check.h"
#include "core/log.h"
#include "core/stop_signal.h"

namespace pixelbert {
namespace {

int until_stopped(comm::Communicator& communicator) {
  at::Tensor stop = at::zeros({1}, at::kLong);
  communicator.barrier();
  if (communicator.rank() == 0) std::cout << "working" << std::endl;
  while (stop.item<std::int64_t>() == 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    stop.fill_(stop_signalled() ? 1 : 0);
    communicator.all_reduce(stop, comm::ReduceOp::Max)->wait();
  }
  std::this_thread::sleep_for(std::chrono::seconds(2));
  communicator.barrier();
  if (communicator.rank() == 0) std::cout << "saved" << std::endl;
  return 75;
}

int run(const std::string& what, const std::string& value, const comm::MpiSession& session) {
  comm::MpiCommunicator communicator(session);
  if (what == "throw") {
    PB_CHECK(session.rank() != std::stoi(value), "thrown on purpose");
    communicator.barrier();
  }
  if (what == "exit") return std::stoi(value);
  if (what == "until-stopped") return until_stopped(communicator);
  if (what == "threads") {
    const char* const threads = std::getenv("OMP_NUM_THREADS");
    if (session.rank() == 0) {
      std::cout << session.world_size() << " ranks with " << (threads ? threads : "any number of") << " threads, "
                << session.local_size() << " on this host" << std::endl;
    }
    return 0;
  }
  throw UsageError("unknown word '" + what + "'");
}

}  // namespace
}  // namespace pixelbert

int main(int argc, char** argv) {
  const pixelbert::comm::MpiSession session(&argc, &argv);
  pixelbert::log::start(session.rank(), session.world_size());
  pixelbert::catch_stop_signals();
  try {
    return pixelbert::run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "", session);
  } catch (const std::exception& error) {
    pixelbert::log::error("on host {}: {}", session.host(), error.what());
    session.abort(1);
  }
}
