// benchmark_allreduce FLOATS ROUNDS, under launch/local.sh: rank 0 prints the seconds of each round.
//
// Gradients of 1 Mi float32 each in buckets of 25 MiB, summed over the ranks by GradientReducer and MpiCommunicator as
// at the end of a step, with no backward pass to hide behind; then as many weights, which each rank gathers. The first
// round is a warm-up and not printed.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "comm/gradient_reducer.h"
#include "comm/mpi_communicator.h"
#include "core/check.h"

using namespace pixelbert;

int main(int argc, char** argv) {
  const comm::MpiSession session(&argc, &argv);
  PB_CHECK(argc == 3, "see benchmarks/allreduce.cpp for the arguments");
  const std::int64_t floats = std::stoll(argv[1]);
  const int rounds = std::stoi(argv[2]);

  std::vector<torch::Tensor> parameters;
  for (std::int64_t left = floats; left > 0; left -= 1 << 20) {
    parameters.push_back(at::empty({std::min<std::int64_t>(left, 1 << 20)}).requires_grad_());
  }
  comm::MpiCommunicator communicator(session);
  comm::GradientReducer reducer(parameters, communicator, 25 << 20);
  std::vector<std::int64_t> one_leaf_each;
  for (int rank = 0; rank <= session.world_size(); ++rank) one_leaf_each.push_back(rank);

  for (int round = 0; round <= rounds; ++round) {
    reducer.begin_step(comm::SumTree(one_leaf_each));
    reducer.begin_micro_batch(session.rank());
    for (const torch::Tensor& parameter : parameters) parameter.mutable_grad() = at::ones_like(parameter);
    PB_CHECK(reducer.finite(), "expected ones");  // they are in the buckets now
    communicator.barrier();
    const auto start = std::chrono::steady_clock::now();
    reducer.finish();
    reducer.gather_weights();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (session.rank() == 0 && round > 0) std::printf("%.6f\n", seconds.count());
  }
  const double expected = session.world_size();
  for (const comm::Piece& piece : reducer.pieces()) {
    PB_CHECK(piece.weights.grad().eq(expected).all().item<bool>(), "expected {} in every gradient", expected);
  }
}
