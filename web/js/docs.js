/** The API reference, drawn by Swagger UI from our own OpenAPI document. */

const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();

window.SwaggerUIBundle({
  url: new URL("../../openapi.json", import.meta.url).href,
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null, // by default the document's address is sent to another host
});
