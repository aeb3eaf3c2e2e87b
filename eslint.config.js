// One lint for the whole house: type-checked rules everywhere, and the purity of the format rooms.
import js from "@eslint/js";
import tseslint from "typescript-eslint";

const pureRooms = ["core", "delta", "sigmastar", "k230", "android", "trust", "rehearse"];

export default tseslint.config(
  { ignores: ["dist/**", "node_modules/**", "test/vectors/**", "src/**/assembly/**", "**/*.cjs"] },
  js.configs.recommended,
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/require-await": "off",
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      eqeqeq: "error",
      "no-console": "error",
    },
  },
  {
    // Sizes are exact beyond 2 and 4 GiB: bit operators cut to 32 bits, so `| 0` and `>> n` on sizes are traps.
    files: ["src/**/*.ts"],
    ignores: ["src/**/*.test.ts"],
    rules: {
      "no-restricted-syntax": [
        "error",
        {
          selector: "BinaryExpression[operator='|'][right.value=0]",
          message: "`| 0` cuts a number to 32 bits; use Math.trunc for sizes.",
        },
      ],
    },
  },
  {
    // Pure rooms run in a browser and on small runtimes: the world comes in through ports.
    files: pureRooms.map((room) => `src/${room}/**/*.ts`),
    ignores: ["src/**/*.test.ts", "src/**/*.node.ts"],
    rules: {
      "no-restricted-globals": ["error", "Buffer", "process", "setTimeout", "setImmediate", "console", "fetch"],
      "no-restricted-imports": [
        "error",
        { patterns: [{ regex: "^node:|\\.node\\.(ts|js)$", message: "pure room: take it through a port" }] },
      ],
    },
  },
  { files: ["**/*.js"], ...tseslint.configs.disableTypeChecked },
  {
    files: ["**/*.js"],
    languageOptions: {
      globals: { process: "readonly", console: "readonly", URL: "readonly", performance: "readonly" },
    },
  },
  { files: ["bin/*.js", "bench/**", "tools/**"], rules: { "no-console": "off" } },
);
