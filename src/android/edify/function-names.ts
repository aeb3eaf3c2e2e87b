/** Names the updaters of 4.4 and 7.1 know, formats/android.md section 4.4. Any other name keeps a script from running at all. */
import type { EdifyEra } from "./ast.ts";

const BUILTINS = [
  "ifelse",
  "abort",
  "assert",
  "concat",
  "is_substring",
  "stdout",
  "sleep",
  "less_than_int",
  "greater_than_int",
];

const BOTH = [
  ...["mount", "is_mounted", "unmount", "format", "show_progress", "set_progress", "delete", "delete_recursive"],
  ...["package_extract_dir", "package_extract_file", "symlink", "set_metadata", "set_metadata_recursive", "getprop"],
  ...["file_getprop", "write_raw_image", "apply_patch", "apply_patch_check", "apply_patch_space", "read_file"],
  ...["sha1_check", "rename", "run_program", "ui_print", "wipe_cache", "reboot_now", "set_stage", "get_stage"],
];

const ONLY_44 = ["set_perm", "set_perm_recursive"];

const ONLY_71 = [
  ...["range_sha1", "block_image_update", "block_image_verify", "wipe_block_device", "enable_reboot", "tune2fs"],
  ...["check_first_block", "block_image_recover", "write_value"],
];

export const UPDATER_FUNCTION_NAMES: Readonly<Record<EdifyEra, ReadonlySet<string>>> = {
  "4.4": new Set([...BUILTINS, ...BOTH, ...ONLY_44]),
  "7.1": new Set([...BUILTINS, ...BOTH, ...ONLY_71]),
};
