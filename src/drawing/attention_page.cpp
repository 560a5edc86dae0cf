#include <cmath>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "drawing/attention.h"

namespace pixelbert::drawing {
namespace {

constexpr const char* kHead = R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Pixel-BERT: attention</title>
<style>
body { font: 16px sans-serif; margin: 24px; color: #222; }
#words span { display: inline-block; padding: 4px 8px; margin: 2px; border-radius: 4px; cursor: pointer; background: #eee; }
#words span.chosen { background: #246; color: #fff; }
#stage { position: relative; margin: 16px 0; }
#stage img, #stage canvas { position: absolute; left: 0; top: 0; width: 100%; height: 100%; }
label { margin-right: 16px; }
</style>
</head>
<body>
<p id="words"></p>
<p>
<label>layer <select id="layer"></select></label>
<label>head <select id="head"></select></label>
<span id="share"></span>
</p>
<div id="stage"><img alt="the image" src=")";

constexpr const char* kScript = R"(;
const stage = document.getElementById("stage"), canvas = stage.querySelector("canvas");
const layer = document.getElementById("layer"), head = document.getElementById("head");
const scale = Math.min(900, Math.max(480, maps.width)) / maps.width;
stage.style.width = maps.width * scale + "px";
stage.style.height = maps.height * scale + "px";
canvas.width = maps.width * scale;
canvas.height = maps.height * scale;
let chosen = 0;

function choices(select, count) {
  select.add(new Option("mean of all", -1));
  for (let i = 0; i < count; ++i) select.add(new Option(i + 1, i));
  select.onchange = draw;
}

// [cells], in ten-thousandths of the word's attention.
function weights() {
  const cells = maps.rows * maps.columns, mean = new Float64Array(cells);
  const range = (select, count) => select.value < 0 ? [...Array(count).keys()] : [Number(select.value)];
  const layers = range(layer, maps.layers), heads = range(head, maps.heads);
  for (const l of layers) for (const h of heads) {
    const first = ((l * maps.heads + h) * maps.words.length + chosen) * cells;
    for (let i = 0; i < cells; ++i) mean[i] += maps.weights[first + i] / (layers.length * heads.length);
  }
  return mean;
}

function draw() {
  const mean = weights(), most = Math.max(...mean, 1e-9);
  const small = new OffscreenCanvas(maps.columns, maps.rows), pen = small.getContext("2d");
  for (let i = 0; i < mean.length; ++i) {
    pen.fillStyle = `rgba(0, 0, 0, ${0.82 * (1 - mean[i] / most)})`;
    pen.fillRect(i % maps.columns, Math.floor(i / maps.columns), 1, 1);
  }
  const to = canvas.getContext("2d");
  to.clearRect(0, 0, canvas.width, canvas.height);
  to.drawImage(small, 0, 0, maps.columns * maps.cell * scale, maps.rows * maps.cell * scale);
  const share = mean.reduce((sum, x) => sum + x, 0) / 100;
  document.getElementById("share").textContent = `${share.toFixed(1)} % of this word's attention is on the image`;
  document.querySelectorAll("#words span").forEach((word, i) => word.classList.toggle("chosen", i === chosen));
}

maps.words.forEach((text, i) => {
  const word = document.createElement("span");
  word.textContent = text;
  word.onmouseenter = word.onclick = () => { chosen = i; draw(); };
  document.getElementById("words").append(word);
});
choices(layer, maps.layers);
choices(head, maps.heads);
draw();
</script>
</body>
</html>
)";

// Returns the bytes as a data URL, which may be written in hexadecimal digits.
std::string data_url(const std::string& encoded) {
  std::string url = encoded.starts_with("\x89PNG") ? "data:image/png," : "data:image/jpeg,";
  url.reserve(url.size() + 3 * encoded.size());
  for (const char c : encoded) {
    constexpr const char* kDigits = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    url += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return url;
}

std::vector<std::int64_t> ten_thousandths(const std::vector<float>& weights) {
  std::vector<std::int64_t> rounded;
  for (const float weight : weights) rounded.push_back(std::lround(1e4f * weight));
  return rounded;
}

}  // namespace

std::string attention_page(const AttentionMaps& maps) {
  const nlohmann::json data = {
      {"width", maps.width},     {"height", maps.height}, {"rows", maps.rows},
      {"columns", maps.columns}, {"cell", maps.cell},     {"layers", maps.layers},
      {"heads", maps.heads},     {"words", maps.words},   {"weights", ten_thousandths(maps.weights)}};
  std::string json = data.dump();
  for (std::size_t at = 0; (at = json.find("</", at)) != std::string::npos; at += 3) json.insert(at + 1, "\\");
  return kHead + data_url(maps.encoded) + "\"><canvas></canvas></div>\n<script>\nconst maps = " + json + kScript;
}

}  // namespace pixelbert::drawing
