#include "jobs/predictions.h"

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/files.h"
#include "sources/nlvr2.h"

namespace pixelbert::jobs {

std::string vqa_results(const data::DataSets& data, const std::vector<torch::Tensor>& chosen,
                        const std::vector<std::string>& answers) {
  nlohmann::json results = nlohmann::json::array();
  for (std::size_t i = 0; i < data.size(); ++i) {
    const auto* classes = chosen[i].const_data_ptr<std::int64_t>();
    for (std::int64_t text = 0; text < data[i]->texts(); ++text) {
      results.push_back(
          {{"question_id", data[i]->text_id(text)}, {"answer", answers.at(static_cast<std::size_t>(classes[text]))}});
    }
  }
  return results.dump();
}

std::string nlvr2_results(const data::DataSets& data, const std::vector<torch::Tensor>& chosen) {
  std::string lines;
  for (std::size_t i = 0; i < data.size(); ++i) {
    const auto& options = data[i]->manifest().options;
    const auto prefix = options.find("identifiers");
    const auto* classes = chosen[i].const_data_ptr<std::int64_t>();
    for (std::int64_t text = 0; text < data[i]->texts(); ++text) {
      const std::int64_t id = data[i]->text_id(text);
      lines += fmt::format("{},{}\n",
                           prefix == options.end() ? fmt::to_string(id) : sources::nlvr2_identifier(prefix->second, id),
                           classes[text] == 1 ? "True" : "False");
    }
  }
  return lines;
}

void write_tensors(const std::string& path, const checkpoint::NamedTensors& tensors) {
  const std::filesystem::path aside = temporary_beside(path);
  try {
    checkpoint::write_safetensors(aside, tensors);
    rename_durably(aside, path);
  } catch (const Error&) {
    std::error_code ignored;
    std::filesystem::remove(aside, ignored);
    throw;
  }
}

}  // namespace pixelbert::jobs
