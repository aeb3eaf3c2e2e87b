/** Codes raised by `delta/`: exit class and one-line meaning. */
export const DELTA_CODES = {
  BSDIFF_MAGIC: ["format", "a patch does not begin with BSDIFF40"],
  BSDIFF_HEADER: ["format", "a BSDIFF40 header's sizes do not fit the patch"],
  BSDIFF_CONTROL: ["format", "a BSDIFF40 control triple is negative, too large or does not fit the new size"],
  BSDIFF_STREAM: ["format", "a BSDIFF40 stream is shorter or longer than its control triples say"],
  DELTA_TOO_LARGE: ["usage", "an input is larger than this function or format can take"],
} as const;
