/** The API reference, rendered by Swagger UI from our OpenAPI document. */

const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();

window.SwaggerUIBundle({
  url: new URL("../../openapi.json", import.meta.url).href,
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null, // By default Swagger UI sends the document's URL to another host.
});
