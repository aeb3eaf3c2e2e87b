/** Codes raised by `delta/`: exit class and one-line meaning. */
export const DELTA_CODES = {
  BSDIFF_MAGIC: ["format", "a patch does not begin with BSDIFF40"],
  BSDIFF_HEADER: ["format", "a BSDIFF40 header's sizes do not fit the patch"],
  BSDIFF_CONTROL: ["format", "a BSDIFF40 control triple is negative, too large or does not fit the new size"],
  BSDIFF_STREAM: ["format", "a BSDIFF40 stream is shorter or longer than its control triples say"],
  DELTA_TOO_LARGE: ["usage", "an input is larger than this function or format can take"],
  IMGDIFF_DAMAGED: ["format", "an IMGDIFF2 patch is damaged, cut short or asks for the impossible"],
  IMGDIFF_BASE: ["mismatch", "the old file is not the one an IMGDIFF2 patch was made for"],
  IMGDIFF_BONUS: ["usage", "bonus data is missing, of the wrong size or given where there is no place for it"],
  IMGDIFF_NOT_ZIP: ["format", "zip mode was asked for and a file is no zip archive"],
  IMGDIFF_STRUCTURE: ["mismatch", "old and new images are not made of the same sequence of gzip streams"],
  FORGE_DAMAGED: ["format", "an otaforge delta is damaged, cut short or asks for the impossible"],
  FORGE_VERSION: ["format", "an otaforge delta of a version this build does not read"],
  FORGE_BASE: ["mismatch", "the old file is not the one an otaforge delta was made for"],
  FORGE_REPACKER: ["usage", "an otaforge delta needs a re-packer that is not there or not allowed"],
  INPLACE_JOURNAL: ["mismatch", "another in-place patch was begun on this target and is not finished"],
  INPLACE_SPACE: ["device", "no lasting room for what an in-place patch saves"],
} as const;
