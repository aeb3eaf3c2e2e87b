/** `otaforge/trust`: keys, signed manifests over packages of any family, versions that order, key rotation without a clock. */
export * from "./base64.ts";
export * from "./envelope.ts";
export * from "./gzip-embed.ts";
export * from "./kdimg-embed.ts";
export * from "./key-list.ts";
export * from "./keys.ts";
export * from "./manifest.ts";
export * from "./policy.ts";
export * from "./sample-keys.ts";
export * from "./verified-reader.ts";
export * from "./version.ts";
