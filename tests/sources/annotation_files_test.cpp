// Reads users' annotation files into records: coco, karpathy, visual-genome.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "images/codec.h"
#include "sources/coco.h"
#include "sources/image_folder.h"
#include "sources/karpathy.h"
#include "sources/visual_genome.h"
#include "tests/sources/annotation_files.h"
#include "tests/support/shared_data.h"

namespace pixelbert::sources {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::AnnotationFiles;
using test::Counts;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

json coco_file(const std::vector<std::pair<int, std::string>>& images, const std::vector<json>& annotations) {
  json file = {
      {"info", {{"year", 2014}}}, {"licenses", {{{"id", 1}}}}, {"images", json::array()}, {"annotations", annotations}};
  for (const auto& [id, name] : images) file["images"].push_back({{"id", id}, {"file_name", name}, {"height", 8}});
  return file;
}

json caption(int id, int image, const std::string& text) {
  return {{"id", id}, {"image_id", image}, {"caption", text}};
}

json karpathy_image(int id, const std::string& split, const std::string& filename,
                    const std::vector<std::string>& sentences, int cocoid = -1) {
  json image = {{"imgid", id}, {"split", split}, {"filename", filename}, {"sentences", json::array()}};
  if (cocoid >= 0) image.update({{"cocoid", cocoid}, {"filepath", "val2014"}});
  for (std::size_t i = 0; i < sentences.size(); ++i) {
    image["sentences"].push_back({{"raw", sentences[i]}, {"sentid", 10 * id + static_cast<int>(i)}, {"tokens", {"x"}}});
  }
  return image;
}

json karpathy_coco() {
  return {{"dataset", "coco"},
          {"images",
           {karpathy_image(0, "train", "a.jpg", {"A. ", "B.\n", "C.", "D.", "E.", "F."}, 100),
            karpathy_image(1, "restval", "b.jpg", {"G."}, 101), karpathy_image(2, "val", "c.jpg", {"H."}, 102),
            karpathy_image(3, "test", "d.jpg", {"I."}, 103)}}};
}

TEST_F(AnnotationFiles, CocoJoinsCaptionsToImages) {
  write_image("train2014/a.jpg");
  write_image("b.jpg");
  const std::string long_caption(10'000, 'x');
  CocoOptions options;
  options.images = images();
  // nlohmann sorts keys: "annotations" come before "images", the opposite of COCO's files.
  options.captions = {
      file("captions.json", coco_file({{7, "a.jpg"}, {8, "b.jpg"}, {9, "no-caption.jpg"}},
                                      {caption(1, 8, " A bear. \n"), caption(2, 7, "A dog."), caption(3, 8, "  "),
                                       caption(4, 99, "Who?"), caption(2, 7, "A dog."), caption(5, 8, long_caption)}))};
  const Corpus corpus = read_coco(options);
  EXPECT_TRUE(records(corpus) == (std::vector<std::string>{"8: 1 A bear. | 5 " + long_caption, "7: 2 A dog."}));
  EXPECT_EQ(corpus.header.source, "coco");
  EXPECT_EQ(corpus.header.skipped,
            (Counts{{"empty-text", 1}, {"unknown-image", 1}, {"duplicate-text-id", 1}, {"no-text", 1}}));
}

TEST_F(AnnotationFiles, CocoMergesImagesThatComeTwice) {
  write_image("a.jpg");
  CocoOptions options;
  options.images = images();
  options.captions = {file("one.json", coco_file({{7, "a.jpg"}}, {caption(1, 7, "One.")})),
                      file("two.json", coco_file({{7, "a.jpg"}}, {caption(2, 7, "Two."), caption(1, 7, "One.")}))};
  const Corpus corpus = read_coco(options);
  EXPECT_THAT(records(corpus), ElementsAre("7: 1 One. | 2 Two."));
  EXPECT_EQ(corpus.header.skipped, (Counts{{"duplicate-text-id", 1}}));
  EXPECT_EQ(corpus.header.options.at("captions"), "one.json,two.json");
}

TEST_F(AnnotationFiles, CocoRefusesTwoImagesWithOneId) {
  const std::string one = file("one.json", coco_file({{7, "cat.jpg"}}, {caption(1, 7, "A cat.")})),
                    two = file("two.json", coco_file({{8, "x.jpg"}, {7, "dog.jpg"}}, {caption(2, 7, "A dog.")})),
                    both = file("both.json", coco_file({{7, "cat.jpg"}, {7, "dog.jpg"}}, {}));
  EXPECT_THAT([&] { read_coco({{one, two}, images(), "", ""}); },
              ThrowsMessage<Error>(HasSubstr(fmt::format(
                  "two.json, images[1]: image id 7 is cat.jpg in {} and dog.jpg in {}: an id must be", one, two))));
  EXPECT_THAT([&] { read_coco({{both}, images(), "", ""}); },
              ThrowsMessage<Error>(HasSubstr(fmt::format("cat.jpg in {} and dog.jpg in {}", both, both))));
  CocoOptions of_split{
      {one, two}, images(), file("dataset_coco.json", karpathy_coco()), ""};  // neither image is wanted
  EXPECT_THAT([&] { read_coco(of_split); }, ThrowsMessage<Error>(HasSubstr("image id 7 is cat.jpg in ")));
}

// Many caption files number their captions from 1.
TEST_F(AnnotationFiles, CaptionsMayHaveTheIdOfAnother) {
  for (const char* name : {"a.jpg", "b.jpg"}) write_image(name);
  CocoOptions options;
  options.images = images();
  options.captions = {file("one.json", coco_file({{7, "a.jpg"}}, {caption(1, 7, "One."), caption(1, 7, "More.")})),
                      file("two.json", coco_file({{8, "b.jpg"}}, {caption(1, 8, "One.")}))};
  const Corpus corpus = read_coco(options);
  EXPECT_THAT(records(corpus), ElementsAre("7: 1 One. | 1 More.", "8: 1 One."));
  EXPECT_EQ(corpus.header.skipped, Counts{});
}

TEST_F(AnnotationFiles, TextsThatGiveNoTokenAreEmpty) {
  write_image("a.jpg");
  const std::vector<std::string> empty = {"",
                                          " ",
                                          "\u00A0",
                                          "\u200B",
                                          "\uFEFF",
                                          std::string("\0", 1),
                                          "\u0301",
                                          " \u0301 \u0302\n",
                                          "\u3000\u2028",
                                          "\xEF\xBF\xBD",
                                          "\u00AD",
                                          "\x07\x7F",
                                          "\uE000"};
  std::vector<json> captions = {caption(0, 7, "A dog."), caption(1, 7, "?"), caption(2, 7, "\u65E5"),
                                caption(3, 7, "e\u0301")};
  for (const std::string& text : empty) captions.push_back(caption(static_cast<int>(captions.size()), 7, text));
  const Corpus corpus = read_coco({{file("captions.json", coco_file({{7, "a.jpg"}}, captions))}, images(), "", ""});
  EXPECT_THAT(records(corpus), ElementsAre("7: 0 A dog. | 1 ? | 2 \u65E5 | 3 e\u0301"));
  EXPECT_EQ(corpus.header.skipped, (Counts{{"empty-text", empty.size()}}));
}

TEST_F(AnnotationFiles, CocoIdsAreWholeNumbers) {
  const auto read = [&](const json& id, const json& image_id) {
    json content = coco_file({{0, "a.jpg"}}, {caption(1, 0, "A.")});
    content["images"][0]["id"] = id;
    content["annotations"][0]["image_id"] = image_id;
    return records(read_coco({{file("captions.json", content)}, images(), "", ""}));
  };
  write_image("a.jpg");
  EXPECT_THAT(read(7.0, "7"), ElementsAre("7: 1 A."));
  EXPECT_THAT([&] { read(1.2, 1); },
              ThrowsMessage<Error>(
                  HasSubstr("captions.json, images[0]: \"id\": expected an id (a 64-bit integer), found 1.2")));
  EXPECT_THAT([&] { read(1, nullptr); },
              ThrowsMessage<Error>(HasSubstr("captions.json, annotations[0]: \"image_id\": expected an id")));
  EXPECT_THAT([&] { read(1, 1e300); }, ThrowsMessage<Error>(HasSubstr("found 1e+300")));
}

TEST_F(AnnotationFiles, CocoTextThatIsNotUtf8IsRepairedAndCounted) {
  write_image("a.jpg");
  std::string content = coco_file({{7, "a.jpg"}}, {caption(1, 7, "A caf@ table.")}).dump();
  content[content.find('@')] = '\xE9';
  write_file(folder_.path() / "captions.json", content);
  const Corpus corpus = read_coco({{folder_.path() / "captions.json"}, images(), "", ""});
  EXPECT_THAT(records(corpus), ElementsAre("7: 1 A caf\xEF\xBF\xBD table."));
  EXPECT_EQ(corpus.header.repaired, (Counts{{"invalid-utf8", 1}}));
}

TEST_F(AnnotationFiles, KarpathyTakesTheSplitsAskedFor) {
  write_image("val2014/a.jpg");
  write_image("deep/val2014/b.jpg");
  write_image("val2014/d.jpg");
  KarpathyOptions options{file("dataset_coco.json", karpathy_coco()), images(), "train,restval"};
  const Corpus corpus = read_karpathy(options);
  EXPECT_THAT(records(corpus), ElementsAre("100: 0 A. | 1 B. | 2 C. | 3 D. | 4 E. | 5 F.", "101: 10 G."));
  EXPECT_EQ(corpus.header.options,
            (std::map<std::string, std::string>{{"karpathy", "dataset_coco.json"}, {"splits", "train,restval"}}));
  options.splits = " test ";
  EXPECT_THAT(records(read_karpathy(options)), ElementsAre("103: 30 I."));
}

TEST_F(AnnotationFiles, KarpathyFindsCocoImagesAlsoInOneFolder) {
  for (const char* name : {"COCO_val2014_000000000100.jpg", "c.jpg", "a/1.jpg"}) write_image(name);
  json d = karpathy_image(2, "test", "1.jpg", {"D."}, 102);
  d["filepath"] = "b";
  const KarpathyOptions options{
      file("dataset.json", {{"images",
                             {karpathy_image(0, "test", "COCO_val2014_000000000100.jpg", {"A."}, 100),
                              karpathy_image(1, "test", "c.jpg", {"C."}, 101), d}}}),
      images(), "test"};
  const Corpus corpus = read_karpathy(options);
  EXPECT_EQ(corpus.record(0).images[0].width, 8);
  for (const int i : {1, 2}) {  // c.jpg could be any folder's; b/1.jpg is not a/1.jpg
    EXPECT_THAT([&] { corpus.record(i); },
                ThrowsMessage<images::BadImage>(HasSubstr("is in another folder than the name says")));
  }
}

TEST_F(AnnotationFiles, KarpathyRefusesTwoImagesWithOneId) {
  const auto read = [&](const json& first, const json& second) {
    read_karpathy({file("dataset_coco.json", {{"images", {first, second}}}), images(), "train"});
  };
  EXPECT_THAT(
      [&] { read(karpathy_image(0, "train", "a.jpg", {"A."}, 9), karpathy_image(1, "train", "b.jpg", {"B."}, 9)); },
      ThrowsMessage<Error>(HasSubstr("dataset_coco.json, images[1]: image id 9 is val2014/a.jpg in ")));
  EXPECT_THAT(
      [&] { read(karpathy_image(9, "train", "a.jpg", {"A."}), karpathy_image(1, "train", "b.jpg", {"B."}, 9)); },
      ThrowsMessage<Error>(HasSubstr("image id 9 is a.jpg in ")));
  json wrong = karpathy_image(0, "train", "a.jpg", {"A.", "B."}, 9);
  wrong["sentences"][1]["sentid"] = 1.5;
  EXPECT_THAT(
      [&] { read(wrong, wrong); },
      ThrowsMessage<Error>(HasSubstr("dataset_coco.json, images[0]: sentences[1]: \"sentid\": expected an id")));
  wrong["sentences"][1]["sentid"] = 1;
  wrong["sentences"][1]["imgid"] = 7;
  EXPECT_THAT([&] { read(wrong, wrong); }, ThrowsMessage<Error>(HasSubstr("a sentence of image 0 refers to image 7")));
}

TEST_F(AnnotationFiles, KarpathyFlickrHasNeitherCocoIdNorFolder) {
  write_image("1000092795.jpg");
  const KarpathyOptions options{
      file("dataset_flickr30k.json",
           {{"dataset", "flickr30k"}, {"images", {karpathy_image(4, "train", "1000092795.jpg", {"Two men."})}}}),
      images(), "train,restval"};
  EXPECT_THAT(records(read_karpathy(options)), ElementsAre("4: 40 Two men."));
}

TEST_F(AnnotationFiles, KarpathyNamesTheSplitsThatAreThere) {
  const KarpathyOptions options{file("dataset_coco.json", karpathy_coco()), images(), "training"};
  EXPECT_THAT(
      [&] { read_karpathy(options); },
      ThrowsMessage<Error>(HasSubstr("has the splits restval (1), test (1), train (1), val (1), none of training")));
}

TEST_F(AnnotationFiles, CocoIsCutToKarpathySplitsByCocoId) {
  for (const char* name : {"a.jpg", "b.jpg", "c.jpg"}) write_image(name);
  CocoOptions options;
  options.images = images();
  options.captions = {file(
      "captions.json", coco_file({{100, "a.jpg"}, {101, "b.jpg"}, {102, "c.jpg"}, {103, "d.jpg"}},
                                 {caption(1, 102, "Val."), caption(2, 101, "Restval."), caption(3, 100, "Train.")}))};
  options.karpathy = file("dataset_coco.json", karpathy_coco());
  const Corpus corpus = read_coco(options);
  EXPECT_THAT(records(corpus), ElementsAre("101: 2 Restval.", "100: 3 Train."));
  EXPECT_EQ(corpus.header.skipped, (Counts{{"not-in-splits", 2}}));
  EXPECT_EQ(corpus.header.options.at("splits"), "train,restval");

  options.splits = "val";
  EXPECT_THAT(records(read_coco(options)), ElementsAre("102: 1 Val."));
}

TEST_F(AnnotationFiles, CocoCountsImagesOfTheSplitsThatNoFileLists) {
  write_image("a.jpg");
  CocoOptions options;
  options.images = images();
  options.captions = {file("captions_train2014.json", coco_file({{100, "a.jpg"}}, {caption(3, 100, "Train.")}))};
  options.karpathy = file("dataset_coco.json", karpathy_coco());
  EXPECT_EQ(read_coco(options).header.skipped, (Counts{{"not-in-captions", 1}}));  // restval's
}

// Image 1 is in no other data set, 2 is COCO 103 (Karpathy test), 3 COCO 102 (val), 4 COCO 100 (train), 5 Flickr
// 1000092795.
class VisualGenomeFiles : public AnnotationFiles {
 protected:
  VisualGenomeFiles() {
    const auto image = [](int id, json coco, json flickr, const std::string& folder) -> json {
      return {
          {"image_id", id},      {"coco_id", coco},
          {"flickr_id", flickr}, {"width", 8},
          {"height", 8},         {"url", fmt::format("https://cs.stanford.edu/people/rak248/{}/{}.jpg", folder, id)}};
    };
    const json data = {image(1, nullptr, nullptr, "VG_100K"), image(2, 103, nullptr, "VG_100K_2"),
                       image(3, 102, 7, "VG_100K"), image(4, 100, 8, "VG_100K"),
                       image(5, nullptr, 1000092795, "VG_100K")};
    json regions = json::array();
    for (int id = 1; id <= 5; ++id) {
      write_image(fmt::format("{}/{}.jpg", id == 2 ? "VG_100K_2" : "VG_100K", id));
      regions.push_back({{"id", id},
                         {"regions",
                          {{{"region_id", 10 * id},
                            {"image_id", id},
                            {"phrase", "shade is along the street "},
                            {"x", -3},
                            {"y", 0},
                            {"width", 900},
                            {"height", 9}}}}});
    }
    options_.regions = file("region_descriptions.json", regions);
    options_.image_data = file("image_data.json", data);
    options_.images = images();
  }

  std::vector<std::int64_t> kept(const std::string& exclude) {
    options_.exclude = exclude;
    const Corpus corpus = read_visual_genome(options_);
    EXPECT_EQ(corpus.header.options.at("vg.exclude"), exclude);
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < corpus.records; ++i) ids.push_back(corpus.record(i).images[0].id);
    const std::int64_t left_out = 5 - corpus.records;
    EXPECT_EQ(corpus.header.skipped, left_out == 0 ? Counts{} : (Counts{{"excluded", left_out}}));
    return ids;
  }

  VisualGenomeOptions options_;
};

TEST_F(VisualGenomeFiles, PairEveryPhraseWithTheWholeImage) {
  EXPECT_EQ(records(read_visual_genome(options_))[1], "2: 20 shade is along the street");
}

TEST_F(VisualGenomeFiles, LeaveOutWhatRetrievalIsTestedOn) {
  EXPECT_THAT(kept("none"), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(kept("all-coco"), ElementsAre(1, 5));
  options_.karpathy = {file("dataset_coco.json", karpathy_coco())};
  EXPECT_THAT(kept("karpathy-test"), ElementsAre(1, 3, 4, 5));
  EXPECT_THAT(kept("karpathy-val-test"), ElementsAre(1, 4, 5));
  options_.karpathy.push_back(
      file("dataset_flickr30k.json", {{"images", {karpathy_image(0, "test", "1000092795.jpg", {"x"})}}}));
  EXPECT_THAT(kept("karpathy-val-test"), ElementsAre(1, 4));
}

TEST_F(VisualGenomeFiles, ThatCannotBeLeftOutAreNotKeptInSilence) {
  options_.image_data = file("data.json", {{{"image_id", 1}}, {{"image_id", 2}}});
  EXPECT_THAT(
      [&] { kept("all-coco"); },
      ThrowsMessage<Error>(HasSubstr("data.json: expected the field 'coco_id', by which --vg.exclude all-coco")));
  options_.karpathy = {"no-file-is-read.json"};
  for (const char* exclude : {"none", "all-coco"}) {
    EXPECT_THAT([&] { kept(exclude); },
                ThrowsMessage<UsageError>(HasSubstr(fmt::format("--vg.exclude {} does not read --karpathy", exclude))));
  }
}

TEST_F(VisualGenomeFiles, OfOlderReleasesSayIdForEverything) {
  options_.image_data = file("old_data.json", {{{"id", 1}}});
  options_.regions = file("old_regions.json",
                          {{{"id", 1}, {"regions", {{{"id", 5}, {"phrase", "a"}}, {{"id", 6}, {"phrase", "a"}}}}}});
  EXPECT_THAT(records(read_visual_genome(options_)), ElementsAre("1: 5 a | 6 a"));
}

TEST_F(VisualGenomeFiles, RefusesARegionOfAnotherImageThanItStandsIn) {
  options_.regions =
      file("mixed.json", {{{"id", 1}, {"regions", {{{"region_id", 5}, {"image_id", 2}, {"phrase", "a"}}}}}});
  EXPECT_THAT([&] { read_visual_genome(options_); },
              ThrowsMessage<Error>(HasSubstr("a region of image 1 refers to image 2")));
}

TEST_F(VisualGenomeFiles, ThatAreOfNoOtherSetMaySayMinusOne) {
  const auto data = [&](const json& coco, const json& flickr) {
    options_.image_data = file("data.json", {{{"image_id", 1}, {"coco_id", coco}, {"flickr_id", flickr}}});
    options_.regions = file("regions.json", {{{"id", 1}, {"regions", {{{"region_id", 5}, {"phrase", "a"}}}}}});
    options_.exclude = "all-coco";
    return read_visual_genome(options_).records;
  };
  EXPECT_EQ(data(-1, -1), 1);
  EXPECT_EQ(data("-1", nullptr), 1);
  EXPECT_EQ(data("103", nullptr), 0);
  EXPECT_EQ(data(103.0, nullptr), 0);
  EXPECT_THAT([&] { data("none", nullptr); },
              ThrowsMessage<Error>(HasSubstr("data.json, [0]: \"coco_id\": expected an id (a 64-bit integer)")));
}

TEST_F(VisualGenomeFiles, LieInTheFolderOfTheirAddressOrInOne) {
  const json data = {{{"image_id", 1}, {"url", "https://cs.stanford.edu/people/rak248/VG_100K_2/1.jpg"}}};
  options_.image_data = file("data.json", data);
  options_.regions = file("regions.json", {{{"id", 1}, {"regions", {{{"region_id", 5}, {"phrase", "a"}}}}}});
  const auto width = [&](const fs::path& folder) {
    options_.images = folder;
    return read_visual_genome(options_).record(0).images[0].width;
  };
  EXPECT_THAT(
      [&] { width(images()); },
      ThrowsMessage<images::BadImage>(HasSubstr("VG_100K/1.jpg is in another folder than the name says (if it is")));
  EXPECT_EQ(width(images() / "VG_100K"), 8);  // when all images are there
  write_image("VG_100K_2/1.jpg", 16);
  EXPECT_EQ(width(images()), 16);
  EXPECT_EQ(width(images() / "VG_100K_2"), 16);
}

TEST_F(VisualGenomeFiles, RefuseTwoImagesWithOneId) {
  options_.image_data = file("data.json", {{{"image_id", 1}, {"url", "https://x.org/a/1.jpg"}},
                                           {{"image_id", 1}, {"url", "https://x.org/a/2.jpg"}}});
  EXPECT_THAT([&] { read_visual_genome(options_); },
              ThrowsMessage<Error>(HasSubstr("data.json, [1]: image id 1 is a/1.jpg in ")));
}

TEST_F(VisualGenomeFiles, RefuseAnUnknownExclusion) {
  EXPECT_THAT([&] { kept("coco"); }, ThrowsMessage<UsageError>(HasSubstr(
                                         "expected none, karpathy-test, karpathy-val-test or all-coco, found 'coco'")));
  EXPECT_THAT([&] { kept("karpathy-test"); },
              ThrowsMessage<UsageError>(HasSubstr("needs --karpathy dataset_coco.json")));
  options_.karpathy = {
      file("dataset_flickr30k.json", {{"images", {karpathy_image(0, "test", "1000092795.jpg", {"x"})}}})};
  EXPECT_THAT([&] { kept("karpathy-test"); }, ThrowsMessage<UsageError>(HasSubstr("has no COCO image")));
}

TEST_F(AnnotationFiles, MissingOptionsAreNamed) {
  EXPECT_THAT([] { read_coco({}); }, ThrowsMessage<UsageError>("pixelbert shard coco needs --captions FILE"));
  EXPECT_THAT([] { read_karpathy({}); }, ThrowsMessage<UsageError>("pixelbert shard karpathy needs --karpathy FILE"));
  EXPECT_THAT([] { read_visual_genome({}); },
              ThrowsMessage<UsageError>("pixelbert shard visual-genome needs --regions FILE"));
  EXPECT_THAT([] { read_coco({{"x.json"}, "/no/such/folder", "", ""}); },
              ThrowsMessage<UsageError>("--images: expected a folder of images, found none at '/no/such/folder'"));
  EXPECT_THAT([] { read_coco({{"x.json"}, "/tmp", "", "train"}); },
              ThrowsMessage<UsageError>(HasSubstr("--splits needs --karpathy")));
}

TEST_F(AnnotationFiles, ImagesThatCannotBeUsedSayWhy) {
  const test::Bytes whole = test::jpeg(test::gradient(64, 64, 3), 64, 64);
  const auto content = [&](const std::string& name, std::string_view bytes) { write_file(images() / name, bytes); };
  const std::string_view bytes(reinterpret_cast<const char*>(whole.data()), whole.size());
  content("cut.jpg", bytes.substr(0, bytes.size() / 2));
  content("empty.jpg", "");
  content("html.jpg", "<html>Not Found</html>");
  fs::create_directories(images() / "folder.jpg");
  const ImageFolder folder(images());
  for (const auto& [name, reason] : {std::pair{"cut.jpg", "truncated"},
                                     {"empty.jpg", "empty"},
                                     {"html.jpg", "not-an-image"},
                                     {"none.jpg", "missing"},
                                     {"folder.jpg", "missing"}}) {
    try {
      folder.read(42, {name});
      ADD_FAILURE() << name;
    } catch (const images::BadImage& bad) {
      EXPECT_EQ(bad.reason, reason);
      EXPECT_THAT(bad.what(), HasSubstr(fmt::format("{} (id 42): ", name)));
    }
  }
}

TEST_F(AnnotationFiles, ImagesAreFoundByTheirNamesAtAnyDepth) {
  for (const char* name : {"near.jpg", "one/two/deep.jpg", "one/two/three/deeper.jpg", "one/b/1.jpg"})
    write_image(name);
  write_image("one/near.jpg", 16);
  write_image("one/a/1.jpg", 16);
  const ImageFolder folder(images());
  for (const char* name : {"near.jpg", "./near.jpg", "deep.jpg", "two/deep.jpg", "one//two/./deep.jpg", "deeper.jpg",
                           "b/1.jpg", "one/a/../b/1.jpg", "images/near.jpg", "images/one/b/1.jpg"}) {
    EXPECT_EQ(folder.read(1, {name}).width, 8) << name;
  }
  for (const char* name : {"one/near.jpg", "a/1.jpg"}) EXPECT_EQ(folder.read(1, {name}).width, 16) << name;
  EXPECT_EQ(folder.read(1, {images() / "one/b/1.jpg"}).width, 8);
  EXPECT_EQ(ImageFolder(images() / "one/b/").read(1, {"b/1.jpg"}).width, 8);  // the folder itself is the one named
}

TEST_F(AnnotationFiles, ImagesOfOtherFoldersAreNeverTaken) {
  for (const char* name : {"a/0001.jpg", "two/deep.jpg", "ab/x.jpg"}) write_image(name);
  write_image("../outside.jpg");
  const ImageFolder folder(images());
  const auto missing = [&](const std::string& name, const std::string& message) {
    EXPECT_THAT([&] { folder.read(1, {name}); },
                ThrowsMessage<images::BadImage>(HasSubstr(fmt::format("{} (id 1): {}", name, message))));
  };
  const std::string other = " is in another folder than the name says, and there is no such file in ";
  missing("b/0001.jpg", (images() / "a/0001.jpg").string() + other);
  missing("elsewhere/deep.jpg", (images() / "two/deep.jpg").string() + other);
  missing("b/x.jpg", (images() / "ab/x.jpg").string() + other);
  missing("two", "no such file in ");
  missing("", "no such file in ");
  missing("a/", "no such file in ");
  missing("../outside.jpg", "the name leads out of ");
  missing("a/../../outside.jpg", "the name leads out of ");
  missing(folder_.path() / "outside.jpg", "the name leads out of ");
  missing("/etc/passwd", "the name leads out of ");
  EXPECT_THROW(folder.read(1, {std::string("a/0001.jpg\0.jpg", 15)}), images::BadImage);
}

TEST_F(AnnotationFiles, ImagesThatSeveralFoldersHaveAreRefused) {
  for (const char* name : {"a/b/twice.jpg", "a/c/twice.jpg", "linked/one.jpg"}) write_image(name);
  const ImageFolder folder(images());
  EXPECT_THAT([&] { folder.read(1, {"twice.jpg"}); },
              ThrowsMessage<Error>(HasSubstr(fmt::format("twice.jpg: 2 files have this name: {0}/a/b/twice.jpg, "
                                                         "{0}/a/c/twice.jpg; give --images the folder of",
                                                         images().string()))));
  EXPECT_EQ(folder.read(1, {"c/twice.jpg"}).width, 8);

  fs::create_hard_link(images() / "linked/one.jpg", images() / "a/one.jpg");
  fs::create_directory_symlink(images() / "linked", images() / "a/also");
  fs::create_directory_symlink(images(), images() / "a/b/up");  // a loop
  fs::create_directory_symlink("/", images() / "a/root");
  fs::create_directory_symlink(images() / "a/c", images() / "a/b/side");
  fs::create_directory_symlink(images() / "a/b", images() / "a/c/side");
  fs::create_symlink("nowhere", images() / "a/broken");
  const ImageFolder with_links(images());
  EXPECT_EQ(with_links.read(1, {"one.jpg"}).width, 8);  // both are one file
  EXPECT_EQ(with_links.read(1, {"also/one.jpg"}).width, 8);
}

TEST_F(AnnotationFiles, ImagesMayLieElsewhereOnlyWhereTheirNamesAreTheirOwn) {
  for (const char* name : {"flat.jpg", "x/deep.jpg"}) write_image(name);
  const ImageFolder folder(images());
  const auto width = [&](const char* name, Elsewhere elsewhere) { return folder.read(1, {name, elsewhere}).width; };
  EXPECT_THROW(width("b/flat.jpg", Elsewhere::Nowhere), images::BadImage);
  EXPECT_EQ(width("b/flat.jpg", Elsewhere::InTheFolder), 8);
  EXPECT_THROW(width("b/deep.jpg", Elsewhere::InTheFolder), images::BadImage);
  EXPECT_EQ(width("b/deep.jpg", Elsewhere::InAnySubfolder), 8);
}

TEST(RealAnnotationFiles, OfCocoAndFlickrAreRead) {
  const fs::path coco = test::shared_data("coco-train2017"), flickr = test::shared_data("flickr8k");
  if (coco.empty() || flickr.empty()) GTEST_SKIP() << "no real data";
  const Corpus photos = read_coco({{coco / "captions_train2017.json"}, coco / "images", "", ""});
  ASSERT_EQ(photos.records, 40);
  std::size_t captions = 0;
  for (std::int64_t i = 0; i < photos.records; ++i) captions += photos.record(i).texts.size();
  EXPECT_EQ(captions, 200u);
  const Corpus dev = read_karpathy({flickr / "dataset_flickr8k.json", flickr / "images", "val"});
  EXPECT_EQ(dev.records, 113);
  EXPECT_EQ(dev.record(0).texts.size(), 5u);
}

}  // namespace
}  // namespace pixelbert::sources
