// Name, search, live pill, operations bell, help, user menu.
import TopNavigation, { type TopNavigationProps } from "@cloudscape-design/components/top-navigation";
import { useTranslation } from "react-i18next";
import { useNavigate } from "react-router";
import { useFormat } from "./format";
import { LANGUAGES, setLanguage, type Language } from "./i18n";
import { useLive } from "./live";
import { setPreferences, usePreferences, type Theme } from "./preferences";
import { useSession } from "./session";

interface TopBarProps {
  onPalette(): void;
  onHelp(): void;
  onOperations(): void;
  hasFailures: boolean;
}

const LIVE_ICONS = { live: "status-positive", reconnecting: "status-pending", offline: "status-negative" } as const;

export function TopBar(props: TopBarProps) {
  const { t } = useTranslation("shell");
  const navigate = useNavigate();
  const live = useLivePill();
  const user = useUserMenu();
  const button = (part: Omit<TopNavigationProps.ButtonUtility, "type">): TopNavigationProps.ButtonUtility => ({
    type: "button",
    ...part,
  });
  return (
    <div id="nano-top">
      <TopNavigation
        identity={{
          href: "/",
          logo: { src: "/wordmark.svg", alt: "Nano" },
          onFollow: (event) => {
            event.preventDefault();
            void navigate("/");
          },
        }}
        utilities={[
          live,
          button({ iconName: "search", text: t("search"), ariaLabel: t("searchKeys"), onClick: props.onPalette }),
          button({ iconName: "status-info", ariaLabel: t("help"), title: t("help"), onClick: props.onHelp }),
          button({
            iconName: "notification",
            ariaLabel: t(props.hasFailures ? "operationsFailed" : "operations"),
            badge: props.hasFailures,
            title: t("operations"),
            onClick: props.onOperations,
          }),
          user,
        ]}
      />
    </div>
  );
}

function useLivePill(): TopNavigationProps.ButtonUtility {
  const { t } = useTranslation("shell");
  const { state, since, retryNow } = useLive();
  const format = useFormat();
  const text = state === "offline" ? t("live.offline", { time: format.ago(since.toISOString()) }) : t(`live.${state}`);
  return {
    type: "button",
    iconName: LIVE_ICONS[state],
    text,
    ariaLabel: `${text}. ${t("live.again")}`,
    title: t("live.again"),
    disableTextCollapse: state !== "live",
    onClick: retryNow,
  };
}

function useUserMenu(): TopNavigationProps.MenuDropdownUtility {
  const { t, i18n } = useTranslation("shell");
  const { user, logout } = useSession();
  const chosen = usePreferences();
  const tick = (isChosen: boolean) => (isChosen ? ("check" as const) : undefined);
  const entry = (group: string, value: string, text: string, isChosen: boolean) => ({
    id: `${group}:${value}`,
    text,
    iconName: tick(isChosen),
  });
  const follow = (id: string) => {
    const [group, value] = id.split(":") as [string, string];
    if (group === "theme") setPreferences({ theme: value as Theme });
    if (group === "density") setPreferences({ density: value as "compact" | "comfortable" });
    if (group === "language") void setLanguage(value as Language);
    if (group === "shortcuts") setPreferences({ hasShortcuts: !chosen.hasShortcuts });
    if (group === "session") void logout();
  };
  return {
    type: "menu-dropdown",
    text: user?.username,
    iconName: "user-profile",
    ariaLabel: `${user?.username ?? ""}: ${t("userMenu")}`,
    onItemClick: ({ detail }) => follow(detail.id),
    items: [
      {
        id: "looks",
        text: t("theme"),
        items: (["light", "dark", "system"] as const).map((theme) =>
          entry("theme", theme, t(`themes.${theme}`), chosen.theme === theme),
        ),
      },
      {
        id: "rows",
        text: t("density"),
        items: (["compact", "comfortable"] as const).map((density) =>
          entry("density", density, t(`densities.${density}`), chosen.density === density),
        ),
      },
      {
        id: "languages",
        text: t("language"),
        items: Object.entries(LANGUAGES).map(([tag, name]) => entry("language", tag, name, i18n.language === tag)),
      },
      {
        id: "keys",
        text: t("keyboard"),
        items: [entry("shortcuts", "toggle", t("useShortcuts"), chosen.hasShortcuts)],
      },
      { id: "session:end", text: t("signOut") },
    ],
  };
}
