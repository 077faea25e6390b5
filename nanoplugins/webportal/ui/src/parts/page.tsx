// The frame of every page: title, breadcrumbs, one h1, actions.
import BreadcrumbGroup from "@cloudscape-design/components/breadcrumb-group";
import ContentLayout from "@cloudscape-design/components/content-layout";
import Header from "@cloudscape-design/components/header";
import Link from "@cloudscape-design/components/link";
import { useEffect, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { useLocation, useNavigate } from "react-router";

export interface Crumb {
  text: string;
  href: string;
}

interface PageProps {
  title: string;
  crumbs?: Crumb[];
  description?: ReactNode;
  info?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title ? `${title} · Nano` : "Nano";
  }, [title]);
}

export function Page({ title, crumbs = [], description, info, actions, children }: PageProps) {
  const { t } = useTranslation();
  const navigate = useNavigate();
  const { pathname } = useLocation();
  useTitle(title);
  const items = [{ text: t("overview"), href: "/" }, ...crumbs, { text: title, href: "#" }];
  return (
    <ContentLayout
      breadcrumbs={
        pathname !== "/" && <BreadcrumbGroup
          items={items}
          ariaLabel={t("breadcrumbs")}
          onFollow={(event) => {
            event.preventDefault();
            if (event.detail.href !== "#") void navigate(event.detail.href);
          }}
        />
      }
      header={
        <Header variant="h1" description={description} info={info} actions={actions}>
          {title}
        </Header>
      }
    >
      {children}
    </ContentLayout>
  );
}

export function AppLink({ to, children, label }: { to: string; children: ReactNode; label?: string }) {
  const navigate = useNavigate();
  return (
    <Link
      href={to}
      ariaLabel={label}
      onFollow={(event) => {
        if (event.detail.external) return;
        event.preventDefault();
        void navigate(to);
      }}
    >
      {children}
    </Link>
  );
}
