import { defineConfig } from "vite";

// The page must work under "default-src 'none'": nothing inline, nothing from elsewhere.
export default defineConfig({
  base: "./",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // npm run dev: the page from Vite, the API from a server that runs already.
  server: { proxy: { "/v1": "http://127.0.0.1:8080", "/health": "http://127.0.0.1:8080" } },
});
