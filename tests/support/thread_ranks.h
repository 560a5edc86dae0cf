// Ranks of one process: threads that send messages through a table, with the same TreeReduction as in the program.
#pragma once

#include <ATen/ATen.h>

#include <barrier>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "comm/group_sum.h"

namespace pixelbert::test {

class ThreadRanks {
 public:
  class Communicator final : public comm::Communicator {
   public:
    Communicator(ThreadRanks& ranks, int rank)
        : ranks_(ranks), rank_(rank), reduction_(make_reduction(comm::RankLayout(ranks.host_of_rank_, rank))) {}

    int rank() const override { return rank_; }
    int world_size() const override { return static_cast<int>(ranks_.host_of_rank_.size()); }
    void broadcast(torch::Tensor tensor, int root) override { ranks_.send_from(rank_ == root, tensor); }
    void send(torch::Tensor tensor, int to) override { ranks_.send(rank_, to, tensor); }
    void receive(torch::Tensor tensor, int from) override { ranks_.receive(from, rank_, tensor); }
    void barrier() override { ranks_.meeting_.arrive_and_wait(); }
    std::unique_ptr<comm::Work> all_reduce(torch::Tensor tensor, comm::ReduceOp op) override {
      if (op != comm::ReduceOp::Sum) std::terminate();
      ranks_.add_to_total(tensor);
      return std::make_unique<Done>();
    }

    std::unique_ptr<comm::Work> reduce_scatter(const comm::SumTree& tree, std::vector<torch::Tensor> own,
                                               torch::Tensor result) override {
      comm::check_values(tree.nodes(rank_), own, result);
      reduction_.reduce_scatter(tree, own, result);
      return std::make_unique<Done>();
    }
    comm::Range slice(std::int64_t size, int rank) const override { return reduction_.layout().slice(size, rank); }
    std::unique_ptr<comm::Work> all_gather(torch::Tensor tensor) override {
      reduction_.all_gather(tensor);
      return std::make_unique<Done>();
    }

   private:
    struct Done final : comm::Work {
      void wait() override {}
    };

    comm::TreeReduction make_reduction(comm::RankLayout layout) {
      const auto peers = [this](const comm::Group& group) -> std::unique_ptr<comm::GroupSum> {
        if (group.size() == 1) return nullptr;
        return std::make_unique<comm::PeerSum>(group.me, [this, group](const auto& sent, const auto& received) {
          ranks_.exchange(rank_, group.ranks, sent, received);
        });
      };
      auto in_host = peers(layout.in_host), across = peers(layout.across);
      return {std::move(layout), std::move(in_host), std::move(across)};
    }

    ThreadRanks& ranks_;
    int rank_;
    comm::TreeReduction reduction_;
  };

  explicit ThreadRanks(std::vector<int> host_of_rank)
      : host_of_rank_(std::move(host_of_rank)), meeting_(std::ssize(host_of_rank_)) {}

  // Runs f(communicator) on every rank and returns when all have ended. f must not throw.
  template <class F>
  void run(F f) {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < static_cast<int>(host_of_rank_.size()); ++rank) {
      threads.emplace_back([this, rank, &f] {
        Communicator communicator(*this, rank);
        f(communicator);
      });
    }
  }

 private:
  void send_from(bool is_root, const torch::Tensor& tensor) {
    if (is_root) total_ = tensor.clone();
    meeting_.arrive_and_wait();
    tensor.copy_(total_);
    meeting_.arrive_and_wait();
    if (is_root) total_.reset();
    meeting_.arrive_and_wait();
  }

  void send(int from, int to, const torch::Tensor& tensor) {
    const std::lock_guard lock(mutex_);
    letters_[{from, to}].push_back(tensor.clone());
    posted_.notify_all();
  }

  void receive(int from, int to, const torch::Tensor& tensor) {
    std::unique_lock lock(mutex_);
    auto& letters = letters_[{from, to}];
    posted_.wait(lock, [&] { return !letters.empty(); });
    tensor.copy_(letters.front());
    letters.pop_front();
  }

  void add_to_total(const torch::Tensor& tensor) {
    {
      const std::lock_guard lock(mutex_);
      total_ = total_.defined() ? total_ + tensor : tensor.clone();
    }
    meeting_.arrive_and_wait();
    tensor.copy_(total_);
    meeting_.arrive_and_wait();
    {
      const std::lock_guard lock(mutex_);
      total_.reset();
    }
    meeting_.arrive_and_wait();
  }

  // All ranks make the same calls in the same order, so every rank comes to each exchange.
  void exchange(int rank, const std::vector<int>& ranks, const std::vector<comm::PeerSum::Message>& sent,
                const std::vector<comm::PeerSum::Message>& received) {
    {
      const std::lock_guard lock(mutex_);
      for (const auto& message : sent) letters_[{rank, ranks[message.member]}].push_back(message.part.clone());
    }
    meeting_.arrive_and_wait();
    {
      const std::lock_guard lock(mutex_);
      for (const auto& message : received) {
        auto& letters = letters_[{ranks[message.member], rank}];
        message.part.copy_(letters.front());
        letters.pop_front();
      }
    }
    meeting_.arrive_and_wait();
  }

  std::vector<int> host_of_rank_;
  std::barrier<> meeting_;
  std::mutex mutex_;
  std::condition_variable posted_;
  torch::Tensor total_;
  std::map<std::pair<int, int>, std::deque<at::Tensor>> letters_;  // by (from, to)
};

}  // namespace pixelbert::test
