// Ctrl/⌘-K: go anywhere, find anything by free text.
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import { useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { getPage } from "../api/client";
import { useFocusInDialog } from "../parts/focus";
import { PLACES } from "./navigation";

interface Entry {
  key: string;
  text: string;
  kind: string;
  href: string;
}

const NOUNS = [
  { topic: "instances", key: "instances" },
  { topic: "nodes", key: "nodes" },
  { topic: "compute-pools", key: "computePools" },
  { topic: "disk-images", key: "diskImages" },
];
const FOUND_PER_NOUN = 6;

async function find(text: string, signal: AbortSignal): Promise<Entry[]> {
  const search = new URLSearchParams({ q: text, limit: String(FOUND_PER_NOUN) });
  const pages = await Promise.all(
    NOUNS.map(({ topic }) => getPage<{ id: string; name: string }>(`/${topic}?${search}`, signal)),
  );
  return NOUNS.flatMap(({ topic, key }, index) =>
    (pages[index]?.items ?? []).map((item) => ({
      key: item.id,
      text: item.name,
      kind: key,
      href: topic === "disk-images" ? `/disk-images?q=${encodeURIComponent(item.name)}` : `/${topic}/${item.id}`,
    })),
  );
}

export function Palette({ onClose }: { onClose(): void }) {
  const { t } = useTranslation(["shell", "common"]);
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [index, setIndex] = useState(0);
  const input = useRef<{ focus(): void }>(null);
  useFocusInDialog(input);
  const found = useQuery({
    queryKey: ["palette", text],
    queryFn: ({ signal }) => find(text, signal),
    enabled: text.length > 0,
    placeholderData: (before) => before,
  });
  const places: Entry[] = [...PLACES, { key: "createInstance", href: "/instances/create" }]
    .map((place) => ({ key: place.key, text: t(place.key), kind: "goTo", href: place.href }))
    .filter((entry) => entry.text.toLowerCase().includes(text.toLowerCase()));
  const entries = [...(text ? (found.data ?? []) : []), ...places];
  const choose = (entry: Entry | undefined) => {
    if (!entry) return;
    onClose();
    void navigate(entry.href);
  };
  const move = (key: string) => {
    if (key === "ArrowDown") setIndex((index + 1) % Math.max(1, entries.length));
    if (key === "ArrowUp") setIndex((index - 1 + entries.length) % Math.max(1, entries.length));
    if (key === "Enter") choose(entries[index]);
  };
  return (
    <Modal visible header={t("search")} onDismiss={onClose} closeAriaLabel={t("common:close")}>
      <Input
        ref={input as never}
        type="search"
        value={text}
        ariaLabel={t("search")}
        placeholder={t("searchPlaceholder")}
        onChange={({ detail }) => {
          setText(detail.value);
          setIndex(0);
        }}
        onKeyDown={({ detail }) => move(detail.key)}
        nativeInputAttributes={{
          role: "combobox",
          "aria-expanded": true,
          "aria-controls": "nano-palette",
          "aria-activedescendant": entries[index] ? `nano-palette-${index}` : undefined,
        }}
      />
      <ul className="nano-palette" id="nano-palette" role="listbox" aria-label={t("search")}>
        {entries.map((entry, position) => (
          <li
            key={`${entry.kind}${entry.key}`}
            id={`nano-palette-${position}`}
            role="option"
            aria-selected={position === index}
            onClick={() => choose(entry)}
            onMouseMove={() => setIndex(position)}
          >
            <span>{entry.text}</span>
            <small>{t(entry.kind)}</small>
          </li>
        ))}
        {entries.length === 0 && <li role="option" aria-selected={false}>{t("common:noMatch")}</li>}
      </ul>
    </Modal>
  );
}
