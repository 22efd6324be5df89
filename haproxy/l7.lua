-- What HAProxy's own rules can't say: to read a header or cookie whose name is data, and, before 3.4, to change
-- headers whose names are. Names and values are data throughout: nothing here is built into a pattern or run.

-- The header (cookie) named by a variable; "" when there is none. Never nil: HAProxy would make a constant of it.

core.register_fetches("l7_header", function(txn, variable)
  local name = txn:get_var(variable)
  if not name or name == "" then return "" end
  return txn.sf:req_fhdr(name) or ""
end)

core.register_fetches("l7_cookie", function(txn, variable)
  local name = txn:get_var(variable)
  if not name or name == "" then return "" end
  return txn.sf:req_cook(name) or ""
end)

-- Lists of strings as HAProxy 3.4 has them in `del-headers-bin` and `add-headers-bin`: a length of one byte or more,
-- then the bytes; an empty string ends the list.

local function number(data, at)
  local value = string.byte(data, at)
  at = at + 1
  if not value or value < 240 then return value or 0, at end
  local shift, byte = 4, 0
  repeat
    byte = string.byte(data, at) or 0
    value = value + (byte << shift)
    at, shift = at + 1, shift + 7
  until byte < 128
  return value, at
end

local function text(data, at)
  local length
  length, at = number(data, at)
  return string.sub(data, at, at + length - 1), at + length
end

-- What does not fit into the buffer any more ends the request, as in 3.4: the application may rely on a header that
-- the proxy adds, and a client could have it left out by a long cookie. To add one says nothing, so it is read back.

local function change(txn, direction, removed, added)
  local http, there = txn.http, txn.sf[direction .. "_fhdr"]
  local remove, add = http[direction .. "_del_header"], http[direction .. "_add_header"]
  local at, name, value = 1, nil, nil
  while true do
    name, at = text(removed, at)
    if name == "" then break end
    remove(http, name)
  end
  at = 1
  while true do
    name, at = text(added, at)
    if name == "" then break end
    value, at = text(added, at)
    add(http, name, value)
    if there(txn.sf, name) ~= value then return act.ERROR end
  end
end

core.register_action("l7_request_headers", { "http-req" }, function(txn)
  return change(txn, "req", txn:get_var("txn.removed") or "", txn:get_var("txn.added") or "")
end)

core.register_action("l7_response_headers", { "http-res" }, function(txn)
  return change(txn, "res", txn:get_var("txn.removed") or "", txn:get_var("txn.added") or "")
end)
