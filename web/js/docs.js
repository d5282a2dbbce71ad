/** The API reference, drawn by Swagger UI from our own OpenAPI document. */

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null, // by default the document's address is sent to another host
});
