// The page of the API: what /openapi.json says, and a way to try each call.
"use strict";

const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const nameOf = (reference) => reference.split("/").pop();

// A schema in a few words: "string", "Event[]", "map of string to number".
function typeOf(schema) {
  if (schema.allOf) return typeOf(schema.allOf[0]);
  if (schema.$ref) return nameOf(schema.$ref);
  if (schema.type === "array") return `${typeOf(schema.items)}[]`;
  if (schema.additionalProperties) return `map of string to ${typeOf(schema.additionalProperties)}`;
  return schema.format ? `${schema.type} (${schema.format})` : schema.type;
}

// The messages and enums that a schema speaks of, itself first.
function reachable(schemas, name, found = []) {
  if (found.includes(name)) return found;
  found.push(name);
  const text = JSON.stringify(schemas[name]);
  for (const match of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)) reachable(schemas, match[1], found);
  return found;
}

function describeSchema(name, schema) {
  const section = element("div", { class: "schema" }, element("h5", {}, name));
  if (schema.description) section.append(element("p", { class: "prose" }, schema.description));
  if (schema.enum) section.append(element("p", {}, element("code", {}, schema.enum.join(", "))));
  const fields = Object.entries(schema.properties || {});
  if (!schema.enum && fields.length === 0) section.append(element("p", { class: "quiet" }, "No fields."));
  if (fields.length > 0) {
    const body = element("tbody");
    for (const [field, of] of fields) {
      body.append(element("tr", {}, element("th", { scope: "row" }, element("code", {}, field)),
        element("td", {}, typeOf(of)), element("td", { class: "prose" }, of.description || "")));
    }
    section.append(element("div", { class: "scroll" }, element("table", {}, element("caption", { class: "hidden" }, `Fields of ${name}`),
      element("thead", {}, element("tr", {}, ...["Field", "Type", "Meaning"].map((text) => element("th", { scope: "col" }, text)))), body)));
  }
  return section;
}

const examples = {
  Recommend: { userId: "u1", k: 10 },
  SimilarItems: { itemId: "i1", k: 10 },
  ScoreItems: { userId: "u1", itemIds: ["i1", "i2"] },
  Predict: { userId: "u1", itemIds: ["i1", "i2"] },
  RecordEvents: { events: [{ userId: "u1", itemId: "i1", type: "click" }] },
  GetItems: { itemIds: ["i1"] },
  GetUser: { userId: "u1" },
};

function tryIt(path, operation) {
  const id = `try-${operation.operationId}`;
  const body = element("textarea", { id, rows: "4", spellcheck: "false" });
  body.value = JSON.stringify(examples[operation.operationId] || {}, null, 2);
  const answer = element("pre", { "aria-live": "polite", hidden: "", tabindex: "0" });
  const form = element("form", { class: "try" }, element("label", { for: id }, `POST ${path}`), body,
    element("button", { type: "submit" }, "Send"), answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const headers = { "Content-Type": "application/json" };
    if (byId("token").value) headers.Authorization = `Bearer ${byId("token").value}`;
    answer.hidden = false;
    answer.textContent = "…";
    try {
      const response = await fetch(path, { method: "POST", headers, body: body.value });
      const text = await response.text();
      let shown = text;
      try {
        shown = JSON.stringify(JSON.parse(text), null, 2);
      } catch {
        // Several objects, one a line: as they are.
      }
      answer.textContent = `${response.status} ${response.statusText}\n${shown}`;
    } catch (error) {
      answer.textContent = String(error);
    }
  });
  return form;
}

function show(document_) {
  const { schemas } = document_.components;
  byId("about").textContent = `Version ${document_.info.version}. ${document_.info.description}`;
  byId("token-field").hidden = !document_.security;
  for (const tag of document_.tags) {
    const section = element("section", { class: "panel", "aria-labelledby": tag.name }, element("h2", { id: tag.name }, tag.name));
    if (tag.description) section.append(element("p", { class: "prose" }, tag.description));
    for (const [path, methods] of Object.entries(document_.paths)) {
      const operation = methods.post;
      if (!operation.tags.includes(tag.name)) continue;
      const details = element("details", {}, element("summary", {}, element("h3", {}, operation.operationId), " ", element("code", { class: "quiet" }, path)));
      details.append(element("p", { class: "prose" }, operation.description), tryIt(path, operation));
      const request = nameOf(operation.requestBody.content["application/json"].schema.$ref);
      const [answer] = Object.values(operation.responses["200"].content);
      const shown = [];
      for (const [title, name] of [["Request", request], ["Answer", nameOf(answer.schema.$ref)]]) {
        details.append(element("h4", {}, title));
        for (const schema of reachable(schemas, name)) {
          if (!shown.includes(schema)) details.append(describeSchema(schema, schemas[schema]));
          shown.push(schema);
        }
      }
      section.append(details);
    }
    byId("services").append(section);
  }
}

fetch("/openapi.json").then((response) => {
  if (!response.ok) throw new Error(`/openapi.json: ${response.status}`);
  return response.json();
}).then(show).catch((error) => {
  byId("error").textContent = String(error);
  byId("error").hidden = false;
});
