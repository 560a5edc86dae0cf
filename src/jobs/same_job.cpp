#include "jobs/same_job.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "checkpoint/safetensors.h"
#include "comm/texts.h"
#include "core/check.h"
#include "core/json_text.h"
#include "jobs/version.h"

namespace pixelbert::jobs {
namespace {

bool may_suit_a_host(std::string_view option) {
  constexpr std::array<std::string_view, 4> kOfAHost = {"data.threads", "data.queue-batches", "train.threads",
                                                        "metrics.address"};
  return std::ranges::find(kOfAHost, option) != kOfAHost.end();
}

std::string checksum(const std::string& text) {
  return fmt::format("{:08x}", checkpoint::digest_of(text).crc32c);
}

}  // namespace

JobFacts facts_of(const std::map<std::string, std::string>& options, const data::DataSets& data,
                  const text::WordPiece& tokenizer, const std::vector<std::string>& answers) {
  JobFacts facts = {{"the program", fmt::format("{} ({})", version(), git_commit())},
                    {"the CRC-32C of the vocabulary", checksum(tokenizer.vocabulary().text())},
                    {"the CRC-32C of the answers", checksum(fmt::format("{}", fmt::join(answers, "\n")))}};
  for (const auto& [name, value] : options) {
    if (!may_suit_a_host(name)) facts["--" + name] = value;
  }
  const std::vector<std::string> identities = data::identity_of(data);
  for (std::size_t i = 0; i < identities.size(); ++i) {
    facts[fmt::format("the data in {}", data[i]->folder().string())] = identities[i];
  }
  return facts;
}

void check_same_job(const JobFacts& own, const std::string& host, comm::Communicator& control) {
  // Both through JSON, which replaces what is not UTF-8.
  const std::string text = json_text(nlohmann::json(own));
  const auto mine = nlohmann::json::parse(text).get<JobFacts>();
  const auto first = nlohmann::json::parse(comm::broadcast_text(text, control)).get<JobFacts>();
  std::set<std::string> names;
  for (const JobFacts& facts : {mine, first}) {
    for (const auto& [name, value] : facts) names.insert(name);
  }
  const auto value_of = [](const JobFacts& facts, const std::string& name) {
    const auto found = facts.find(name);
    return found == facts.end() ? "missing" : fmt::format("'{}'", found->second);
  };
  std::string difference;
  for (const std::string& name : names) {
    if (value_of(mine, name) == value_of(first, name)) continue;
    difference = fmt::format("on rank {} (host {}) {} is {}, and on rank 0 {}", control.rank(), host, name,
                             value_of(mine, name), value_of(first, name));
    break;
  }
  for (const std::string& found : comm::gather_texts(difference, control)) {
    if (found.empty()) continue;
    throw SharedError(fmt::format(
        "the ranks of a job need the same options, data and program: {}. Give all hosts the same files", found));
  }
}

}  // namespace pixelbert::jobs
