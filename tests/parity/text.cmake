add_executable(tokenize_texts ${PROJECT_SOURCE_DIR}/tests/text/tokenize_texts.cpp)
target_link_libraries(tokenize_texts PRIVATE pb_text)
pb_script_test(tokenizer_parity parity 300 tokenizer_parity.py)
set_tests_properties(tokenizer_parity PROPERTIES SKIP_RETURN_CODE 77)
