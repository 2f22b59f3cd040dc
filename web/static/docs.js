"use strict";
// Render /api/v1/openapi.json. Texts are inserted as text nodes only.

const $ = (id) => document.getElementById(id);

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== undefined && child !== null));
  return node;
}

// Convert `code` and **bold**, the only markup of the texts.
function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) =>
    part.startsWith("`") ? el("code", {}, part.slice(1, -1)) : part.startsWith("**") ? el("b", {}, part.slice(2, -2)) : part);
}

function prose(text) { return text.split(/\n\s*\n/).filter(Boolean).map((paragraph) => el("p", {}, ...inline(paragraph))); }

class Schemas {
  constructor(spec) { this.all = spec.components.schemas; }

  resolve(schema) { return schema && schema.$ref ? this.all[schema.$ref.split("/").pop()] : schema || {}; }

  name(schema) {
    if (!schema) return "";
    if (schema.$ref) return schema.$ref.split("/").pop();
    if (schema.anyOf) return schema.anyOf.map((option) => this.name(option)).join(" | ");
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    if (schema.type === "array") return `${this.name(schema.items) || "any"}[]`;
    return [].concat(schema.type || "any").join(" | ") + (schema.format ? ` (${schema.format})` : "");
  }

  // Return the schema of a nullable value without null.
  present(schema) { return schema.anyOf?.find((option) => option.type !== "null") || schema; }

  limits(schema) {
    const words = { minimum: "≥ ", maximum: "≤ ", exclusiveMinimum: "> ", exclusiveMaximum: "< ", minLength: "at least ",
      maxLength: "at most ", minItems: "min. items ", maxItems: "max. items ", pattern: "like ", default: "default " };
    const worthIt = (value) => value !== undefined && value !== null && typeof value !== "object" && String(value).length < 40;
    return Object.keys(words).filter((key) => worthIt(schema[key]))
      .map((key) => words[key] + (key === "pattern" ? schema[key] : JSON.stringify(schema[key])))
      .concat(schema.examples ? `e.g. ${JSON.stringify(schema.examples[0])}` : []).join(", ");
  }

  // Return all fields of a schema as rows; nested objects have their path.
  rows(schema, path = "", seen = []) {
    const found = this.resolve(schema);
    if (found.type === "array") return this.rows(found.items, `${path}[]`, seen);
    if (found.anyOf) return found.anyOf.flatMap((option) => this.rows(option, path, seen));
    if (!found.properties || seen.includes(found)) return [];
    return Object.entries(found.properties).flatMap(([name, property]) => {
      const here = path ? `${path}.${name}` : name;
      return [[here, property, (found.required || []).includes(name)], ...this.rows(property, here, [...seen, found])];
    });
  }
}

// Allow line breaks behind the dots of long paths.
function breakable(name) { return name.split(/(?<=\.)/).flatMap((part) => [part, el("wbr")]); }

function fields(schemas, rows) {
  return el("table", {}, ...rows.map(([name, schema, required]) => el("tr", {},
    el("td", {}, el("span", { class: required ? "mono required" : "mono" }, ...breakable(name))),
    el("td", {}, el("code", {}, schemas.name(schema))),
    el("td", { class: "quiet" }, ...inline([schema.description || schemas.present(schema).description, schemas.limits(schemas.present(schema))].filter(Boolean).join(" · "))))));
}

function bodyOf(operation) { return operation.requestBody?.content["application/json"]; }

function tryIt(schemas, method, path, operation) {
  const inputs = operation.parameters.map((parameter) => ({ ...parameter,
    input: el("input", { placeholder: schemas.name(parameter.schema), class: "mono" }) }));
  const taken = bodyOf(operation);
  const body = taken && el("textarea", { spellcheck: "false" });
  if (body) body.value = JSON.stringify(taken.example, null, 2);
  const answer = el("div", { "aria-live": "polite" });
  const button = el("button", { type: "submit" }, "Send");
  const send = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try { answer.replaceChildren(...await call(method, path, inputs, body)); }
    catch (error) { answer.replaceChildren(el("p", { class: "bad" }, String(error))); }
    finally { button.disabled = false; }
  };
  return el("form", { class: "try", onsubmit: send },
    ...inputs.map((parameter) => el("label", {},
      el("span", { class: parameter.required ? "mono required" : "mono" }, parameter.name), parameter.input)),
    body && el("label", { class: "wide" }, "Body", body), button, answer);
}

async function call(method, path, inputs, body) {
  const headers = {}, query = new URLSearchParams();
  let url = path;
  for (const { name, in: where, input } of inputs) {
    if (where === "path") url = url.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (input.value && where === "query") query.append(name, input.value);
    else if (input.value) headers[name] = input.value;
  }
  if ($("token").value) headers.Authorization = `Bearer ${$("token").value.trim()}`;
  if (body) headers["Content-Type"] = "application/json";
  const started = performance.now();
  const response = await fetch(url + (query.size ? `?${query}` : ""), { method, headers, body: body && body.value });
  const text = await response.text();
  const head = ["location", "retry-after", "etag", "ratelimit", "x-request-id"].filter((name) => response.headers.get(name))
    .map((name) => `${name}: ${response.headers.get(name)}`).join("\n");
  return [el("p", { class: response.ok ? "good" : "bad" },
    `${response.status} ${response.statusText} · ${Math.round(performance.now() - started)} ms`),
    el("pre", {}, `${head}\n\n${pretty(text)}`.trim())];
}

function pretty(text) { try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; } }

function answers(schemas, operation) {
  return el("table", {}, ...Object.entries(operation.responses).map(([status, response]) => {
    const [type, content] = Object.entries(response.content || {})[0] || ["", {}];
    return el("tr", {}, el("td", { class: status < 400 ? "mono good" : "mono quiet" }, status), el("td", {}, response.description),
      el("td", {}, content.schema ? el("code", { title: type }, schemas.name(content.schema)) : ""));
  }));
}

function operationView(schemas, method, path, operation) {
  const schema = bodyOf(operation)?.schema;
  const success = Object.entries(operation.responses).find(([status]) => status < 400)?.[1].content?.["application/json"]?.schema;
  const view = el("details", { class: "op", id: operation.operationId },
    el("summary", {}, el("span", { class: `verb ${method}` }, method), el("span", { class: "path" }, path),
      el("span", { class: "what" }, operation.summary)));
  const fill = () => {
    if (!view.open || view.children.length > 1) return;
    const parts = (title, rows, type) =>
      rows.length ? [el("h3", {}, title, type ? el("code", {}, schemas.name(type)) : ""),
        ...prose(schemas.resolve(type).description || ""), fields(schemas, rows)] : [];
    view.append(el("div", { class: "inside" }, el("p", {}, operation.summary), ...prose(operation.description),
      ...parts("Parameters", operation.parameters.map((parameter) => [`${parameter.name} (${parameter.in})`,
        { ...parameter.schema, description: parameter.description || parameter.schema.description }, parameter.required])),
      ...(schema ? parts("Body ", schemas.rows(schema), schema) : []),
      ...(success ? parts("Answer ", schemas.rows(success), success) : []),
      el("h3", {}, "Statuses"), answers(schemas, operation), el("h3", {}, "Try it"), tryIt(schemas, method.toUpperCase(), path, operation)));
  };
  view.addEventListener("toggle", fill);
  return view;
}

function show(spec) {
  const schemas = new Schemas(spec);
  $("title").textContent = document.title = spec.info.title;
  $("version").textContent = `Version ${spec.info.version}`;
  $("intro").replaceChildren(...prose(spec.info.description));
  const subjects = Object.fromEntries(spec.tags.map((tag) => [tag.name, tag.description || ""]));
  const groups = new Map();
  for (const [path, operations] of Object.entries(spec.paths))
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags[0] || "other";
      groups.set(tag, [...(groups.get(tag) || []), [method, path, operation]]);
    }
  const list = $("operations"), nav = $("nav");
  list.replaceChildren();
  for (const [tag, operations] of groups) {
    const views = operations.map(([method, path, operation]) => operationView(schemas, method, path, operation));
    list.append(el("section", {}, el("h2", { class: "tag" }, tag), ...prose(subjects[tag] || ""), ...views));
    nav.append(el("section", {}, el("h2", {}, tag), ...operations.map(([method, path, operation]) =>
      el("a", { href: `#${operation.operationId}`, title: operation.summary }, el("span", { class: `verb ${method}` }, method),
        el("span", {}, path.replace("/api/v1", "").replace(/\{\w+\}/g, "{}"))))));
  }
  $("filter").addEventListener("input", () => filter($("filter").value.toLowerCase()));
  window.addEventListener("hashchange", open);
  open();
}

function open() {
  const view = document.getElementById(location.hash.slice(1));
  if (view && view.matches("details.op")) { view.open = true; view.scrollIntoView({ block: "start" }); }
}

function filter(text) {
  for (const item of document.querySelectorAll("details.op > summary, nav a"))
    (item.closest("details") || item).hidden = !item.textContent.toLowerCase().includes(text);
  for (const group of document.querySelectorAll("#operations section, nav section"))
    group.hidden = !group.querySelector("details:not([hidden]), a:not([hidden])");
}

const kept = sessionStorage.getItem("token");
if (kept) $("token").value = kept;
$("token").addEventListener("input", () => sessionStorage.setItem("token", $("token").value));
fetch("/api/v1/openapi.json").then((response) => response.json()).then(show)
  .catch((error) => $("operations").replaceChildren(el("p", { class: "bad" }, `The document could not be read: ${error}`)));
